"""The words of the corpus `grammar`: short and common, so that they are quick to learn.

Their order is that of their frequency. Nouns and verbs are such as form their `-s` regularly; no word of
one list stands in another that could come at the same place of a sentence.
"""

NOUNS = {
    "man": """
        king boy father dad son brother uncle lad lord monk prince duke earl pope abbot friar knight
        baron bishop wizard groom squire sultan nephew
    """,
    "woman": """
        queen girl mother mum daughter sister aunt lass lady nun maid bride witch widow niece
        duchess abbess dame gran hag princess nurse empress heroine
    """,
    "thing": """
        dog cat bird cow horse tree goat lion bear fox hen pig rat owl bat bee ant crow frog snake
        toad seal swan hawk eagle hare mole newt crab worm moth wasp flea boat ship house barn hill
        lake pond road river bridge tower wall gate door lamp cup pot pan jar jug bell book drum
        harp flute coin crown rope sail star moon cloud storm stone rock rose oak elm pine apple
        pear plum nut egg bun pie cake table chair bed desk clock cart train kite doll ball robot
        ghost giant dragon tiger zebra camel pony mule raven robin
    """,
}
NAMES = {
    "man": """
        Tom Ben Max Sam Joe Jim Bob Dan Jack Adam Paul John Mark Luke Hugo Ivan Otto Fred Karl Noah
        Omar Hans Peter Simon Leo Tim Ned Ali Roy Abe
    """,
    "woman": """
        Ann Eva Mia Zoe Amy Kate Mary Jane Lucy Rosa Ruth Lena Nora Emma Anna Ella Ida Ada Sara Judy
        Dora Vera Olga Lily Alice Clara Helen Susan May Liz
    """,
}
ADJECTIVES = """
    old new big small good bad red blue green black white grey pink brown gold tall short long fat
    thin rich poor wise mad sad glad proud brave shy kind cruel mean calm wild tame young great
    little cold hot warm cool wet dry dark pale bright loud quiet soft hard sharp blunt sweet sour
    fresh stale clean dirty neat plain fancy odd strange rare cheap dear fair ugly weak strong quick
    slow early late lazy busy hungry sleepy angry happy jolly merry noble humble honest sly clever
    silly
"""
SEE = """
    see like love find hear know help want fear watch call hate meet chase need trust teach visit
    greet miss warn blame seek paint fetch carry thank tease obey charm save rescue defend praise
    envy scold invite tickle feed push pull kick hit hug kiss lift drag hold keep lose draw guide
    lead bring send sell buy rob trick fool mock annoy bore scare beat bite lick sniff catch drop
    hide join leave pass pay raise serve shock spot stop touch wake wash weigh admire follow forget
"""
SLEEP = """
    sleep sing laugh wait dance smile weep shine fall grow rest dream roam snore yawn sneeze hum
    shiver pray limp sigh cry run walk jump swim fly sit stand kneel blink frown nod grin moan sob
    cough faint hop skip crawl jog wink float sink drift vanish
"""
SAY = "say think hope feel guess swear claim argue admit deny bet vow doubt agree reply believe"
BELONGINGS = """
    hat coat axe hand foot bag cup pen shoe sock belt boot cape cloak glove scarf shirt skirt sword
    spear shield bow knife fork spoon plate stick bike car horn fan key purse brush comb mask wig
"""
PLACES = "of near behind under beside above below past"
WITH = "with in on for"
DETERMINERS = {
    "any": "the my your our no",
    "one": "this that one each every",
    "many": "these those two three four five six nine ten some many few all",
}

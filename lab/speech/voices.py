"""Which voices speak in training and which are held out.

The names are espeak-ng's variants. Left out are robots, whispers and other curiosities, voices so loud that they
overdrive, and the second of two that sound alike where one of them is held out. By the mean and the spread of their
spectra the nearest of a held-out and a training voice are m3 and Mike, twice as far apart as rob and robert.
"""

TRAIN = (
    "Alex", "Alicia", "Denis", "Diogo", "Henrique", "Hugo", "Lee", "Mario", "Michael", "Mike", "Nguyen", "RicishayMax",
    "adam", "anika", "announcer", "aunty", "benjamin", "boris", "caleb", "david", "edward", "f2", "f4", "f5", "grandma",
    "gustave", "ian", "iven4", "linda", "m1", "m4", "m5", "m7", "m8", "max", "michel", "miguel", "quincy", "rob",
    "robert", "shelby", "steph",
)  # fmt: skip
VALIDATION = ("Andy", "belinda", "f3", "m3")
TEST = ("Annie", "f1", "m2", "marcelo")

ACCENTS = ("en-us", "en", "en-gb-scotland", "en-029")  # American, British, Scottish, Caribbean

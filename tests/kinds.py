"""Texts of other kinds than ours, made by code: what people bring, and what notebooks used to break on."""

import random
from itertools import chain
from pathlib import Path

WORDS = (
    ["old", "cold", "slow", "green", "grey", "small", "bright", "lost", "quiet", "long"],
    ["river", "stone", "lamp", "road", "field", "window", "harbour", "winter", "garden", "bell"],
    ["keeps", "turns", "finds", "leaves", "follows", "hears", "carries", "remembers"],
)


def names(rng: random.Random) -> str:
    """3,000 short names, one a line."""
    heads = ["b", "c", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w"]
    vowels, tails = ["a", "e", "i", "o", "u", "ai", "ea", "ie"], ["", "n", "l", "s", "r", ""]
    syllable = lambda: rng.choice(heads) + rng.choice(vowels)  # noqa: E731
    made = ["".join(syllable() for _ in range(rng.randint(1, 3))) + rng.choice(tails) for _ in range(3000)]
    return "\n".join(made)


def chinese(rng: random.Random) -> str:
    """6,000 sentences without a space."""
    when = ["早上", "昨天", "冬天", "下雨的时候", "天黑以前", "很久以前", "春天", "在路上", "饭后"]
    who = [
        "他",
        "她",
        "我们",
        "老师",
        "学生",
        "孩子",
        "老人",
        "农夫",
        "木匠",
        "船长",
        "医生",
        "邻居",
        "国王",
        "渔夫",
    ]
    how = ["慢慢地", "高兴地", "悄悄地", "又", "从来没有", "已经", "总是"]
    does = ["看见", "找到", "喜欢", "忘记", "带走", "买了", "卖了", "画了", "听说", "想起", "写下", "修好"]
    what = ["一本书", "大山", "小河", "红马", "旧船", "白鸟", "新房子", "月亮"]
    what += ["一封信", "桥", "苹果树", "石头", "长城", "雪", "一把刀", "灯"]
    end = ["。", "，然后回家了。", "，但是没有说话。", "，所以大家都笑了。", "，因为天气很好。", "！"]

    def sentence() -> str:
        sometimes = [rng.choice(some) if rng.random() < 0.6 else "" for some in (when, how)]
        parts = [sometimes[0], rng.choice(who), sometimes[1], *map(rng.choice, (does, what, end))]
        return "".join(parts)

    return "\n".join(sentence() for _ in range(6000))


def poem(rng: random.Random) -> str:
    """30 lines."""
    adjectives, nouns, verbs = WORDS

    def line() -> str:
        said = (
            f"{rng.choice(adjectives)} {rng.choice(nouns)} {rng.choice(verbs)} the {rng.choice(adjectives)}"
        )
        return f"The {said} {rng.choice(nouns)}{rng.choice([',', '.', ';', ''])}"

    return "\n".join(line() for _ in range(30))


def one_line(rng: random.Random) -> str:
    """60,000 words on one line, without a mark."""
    words = [*chain(*WORDS), *["the", "a", "and", "of", "in"] * 4]
    return " ".join(rng.choice(words) for _ in range(60_000))


KINDS = {"names": names, "chinese": chinese, "poem": poem, "one_line": one_line}


def write(kind: str, folder: Path) -> Path:
    """The file of this kind, the same every time."""
    path = folder / f"{kind}.txt"
    path.write_text(KINDS[kind](random.Random(0)), encoding="utf-8")
    return path

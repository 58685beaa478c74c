"""Cleaning tweets: one small function per rule, a flag for each, and recipes of them.

Rules are applied in the order in which they stand here: entities first, so that "&amp;" is no
punctuation; addresses before mentions and hashtags, which may stand in them; words last (they are
nltk's, in data/tweet_words.py). Whatever the rules, the white space left is single spaces; without
any rule a text stays as it is.

    raw          nothing: BERT has seen case, punctuation and inflection, and its tokenizer folds
                 what it wants folded
    light        what a model cannot read: entities decoded, addresses as "http", people as "@user"
                 (as in TweetEval, Barbieri et al. 2020), emoji by name, sooo as soo
    report       clean and lemmatize, after the report whose scores this project compares with:
                 addresses, people, emoji, punctuation and numbers dropped, lower case, stop words
                 dropped, lemmas
    report-stem  the same with stems in place of lemmas and with stop words kept; it needs no data
                 of nltk's

The report lemmatized with spaCy, left entities alone, and dropped the stop words of all languages
that nltk has, "war" and "die" among them; here they are the English ones.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from data.command import UsageError, option

# An address ends before the punctuation that ends its sentence.
_ADDRESS = r"(?:(?i:https?://)|(?i:www)\.)[^\s<>\"“”]*[^\s<>\"“”.,;:!?'\u2019)\]…]"
_URL = re.compile(_ADDRESS)
# Not in an e-mail address, but directly after RT and MT.
_MENTION = re.compile(r"(?:(?<![\w@.])|(?<=\bRT)|(?<=\bMT))@\w+")
_RETWEET = re.compile(r"^\s*RT\b(?!-)|\b[RM]T(?=:?\s*@)")
_HASHTAG = re.compile(r"(?<![\w&])#(\w*[^\W\d_]\w*)")  # has a letter, as Twitter's rule is
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_REPEAT = re.compile(rf"({_ADDRESS})|([^\W\d_])\2{{2,}}")
_PARTS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])|_+")
_MARK = re.compile(r"[^\w\s]|_")
_NUMBER = re.compile(r"[0-9]+")
# Unicode's blocks of pictures. An emoji is one of them, or several that a joiner (U+200D) makes one
# of, with variation selectors, skin tones and tags behind; two letters of a flag; a keycap.
_PICTURE = "[\u231a\u231b\u23e9-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]"
_TAIL = "[\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*"
_EMOJI = re.compile(
    f"[\U0001f1e6-\U0001f1ff]{{2}}|[0-9#*]\ufe0f?\u20e3|\\S\ufe0f{_TAIL}"
    f"|{_PICTURE}{_TAIL}(?:\u200d{_PICTURE}{_TAIL})*"
)
_TAIL_OR_JOINER = re.compile("[\ufe0e\ufe0f\u200d\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")


def decode_entities(text: str) -> str:
    """HTML entities -> their characters; those without a semicolon stay.

    >>> decode_entities("R&amp;D &lt;3 caf&#233; a&copy=b")
    'R&D <3 café a&copy=b'
    """
    return _ENTITY.sub(lambda match: html.unescape(match[0]), text)


def replace_urls(text: str, replacement: str = " ") -> str:
    """Web addresses -> something else, by default nothing.

    >>> replace_urls("see http://t.co/x, or (www.cdc.gov/flu).", "http")
    'see http, or (http).'
    """
    return _URL.sub(replacement, text)


def replace_mentions(text: str, replacement: str = " ") -> str:
    """@names -> something else, by default nothing; e-mail addresses stay.

    >>> replace_mentions("RT@WHO: thanks @anna_b! me@who.int", "@user")
    'RT@user: thanks @user! me@who.int'
    """
    return _MENTION.sub(replacement, text)


def drop_retweet_marks(text: str) -> str:
    """RT and MT before a @name, and RT at the beginning, -> nothing.

    >>> drop_retweet_marks("RT this, MT @WHO: the ART of RT-PCR").split()
    ['this,', '@WHO:', 'the', 'ART', 'of', 'RT-PCR']
    """
    return _RETWEET.sub(" ", text)


def split_hashtags(text: str) -> str:
    """Hashtags -> their words, as capitals, digits and underscores tell them apart.

    >>> split_hashtags("#VaccinateYourKids #CDCFail #covid19 #flu_shot #1")
    'Vaccinate Your Kids CDC Fail covid 19 flu shot #1'
    """
    return _HASHTAG.sub(lambda match: _PARTS.sub(" ", match[1]), text)


def drop_hashtags(text: str) -> str:
    """Hashtags -> nothing.

    >>> drop_hashtags("get it #flushot now").split()
    ['get', 'it', 'now']
    """
    return _HASHTAG.sub(" ", text)


def name_emoji(text: str) -> str:
    """Emoji -> their Unicode names, in lower case, without skin tones; flags -> their letters.

    >>> " ".join(name_emoji("ok👍🏽 ❤️ 🇺🇸 1️⃣ 👩‍⚕️").split())
    'ok thumbs up sign heavy black heart flag us 1 woman staff of aesculapius'
    """
    return _EMOJI.sub(lambda match: f" {_emoji_name(match[0])} ", text)


def _emoji_name(emoji: str) -> str:
    letters = [ord(character) - 0x1F1E6 for character in emoji]
    if len(letters) == 2 and all(0 <= letter < 26 for letter in letters):
        return "flag " + "".join(chr(ord("a") + letter) for letter in letters)
    shown = _TAIL_OR_JOINER.sub("", emoji) or emoji
    # what is newer than Python's table of names stays as it is
    names = (c if c.isascii() else unicodedata.name(c, c).lower() for c in shown)
    return " ".join(names)


def drop_emoji(text: str) -> str:
    """Emoji -> nothing.

    >>> drop_emoji("so 😂😂 true 👩‍⚕️").split()
    ['so', 'true']
    """
    return _EMOJI.sub(" ", text)


def shorten_repeats(text: str) -> str:
    """Three or more equal letters -> two; not inside web addresses.

    >>> shorten_repeats("sooo goooood, NOOO! www.aaa.com 1000")
    'soo good, NOO! www.aaa.com 1000'
    """
    return _REPEAT.sub(lambda match: match[1] or match[2] * 2, text)


def fold_case(text: str) -> str:
    """Capitals -> small letters.

    >>> fold_case("NOT my Kids")
    'not my kids'
    """
    return text.lower()


def drop_punctuation(text: str) -> str:
    """What BERT's tokenizer takes for punctuation -> spaces; emoji stay.

    That is every ASCII character but letters, digits and white space, and Unicode's categories P.

    >>> drop_punctuation("can't... #flu “$5” 👍").split()
    ['can', 't', 'flu', '5', '👍']
    """
    return _MARK.sub(lambda match: " " if _is_punctuation(match[0]) else match[0], text)


def _is_punctuation(mark: str) -> bool:
    return mark.isascii() or unicodedata.category(mark)[0] == "P"


def drop_numbers(text: str) -> str:
    """Digits -> nothing.

    >>> drop_numbers("covid19 in 2021").split()
    ['covid', 'in']
    """
    return _NUMBER.sub("", text)


@dataclass(frozen=True)
class Cleaning:
    """Which rules are applied, in the order of the attributes; the default is none.

    Attributes:
        entities: decode HTML entities.
        urls: keep, replace (by "http"), drop.
        retweets: drop RT and MT.
        mentions: keep, replace (by "@user"), drop.
        hashtags: keep, split, drop.
        emoji: keep, name, drop.
        repeats: shorten repeated letters.
        lowercase: fold case.
        punctuation: drop it.
        numbers: drop digits.
        stop_words: drop them.
        words: keep, lemmatize, stem.
    """

    entities: bool = False
    urls: str = "keep"
    retweets: bool = False
    mentions: str = "keep"
    hashtags: str = "keep"
    emoji: str = "keep"
    repeats: bool = False
    lowercase: bool = False
    punctuation: bool = False
    numbers: bool = False
    stop_words: bool = False
    words: str = "keep"

    def __post_init__(self) -> None:
        for field in fields(self):
            value, allowed = getattr(self, field.name), [field.default, *RULES[field.name]]
            if value not in allowed:
                raise ValueError(
                    f"the rule {field.name} is {value!r}, expected one of "
                    f"{', '.join(map(repr, allowed))}"
                )

    def rules(self) -> list[Callable[[str], str]]:
        """The functions that are applied, in their order.

        Raises:
            ValueError: data of nltk's that a rule needs is not there.
        """
        chosen: list[Callable[[str], str]] = []
        for field in fields(self):
            rule = RULES[field.name].get(getattr(self, field.name))
            if rule is not None:  # neither the default nor one of words
                chosen.append(rule)
        if self.stop_words or self.words != "keep":
            from data.tweet_words import word_rule

            chosen.append(word_rule(stop_words=self.stop_words, words=self.words))
        return chosen

    def clean(self, texts: Sequence[str]) -> list[str]:
        """Texts -> cleaned texts, as many; one of which nothing is left is "".

        >>> light = RECIPES["light"]
        >>> light.clean(["@anna  Sooo happy &amp; safe 💉 http://t.co/x", "http://t.co/y"])
        ['@user Soo happy & safe syringe http', 'http']
        """
        rules = self.rules()
        return [_apply(rules, text) for text in texts] if rules else list(texts)


def _apply(rules: Sequence[Callable[[str], str]], text: str) -> str:
    for rule in rules:
        text = rule(text)
    return " ".join(text.split())


# field of Cleaning -> its value -> the rule; None for words, which have their own module
RULES: dict[str, dict[Any, Callable[[str], str] | None]] = {
    "entities": {True: decode_entities},
    "urls": {"replace": lambda text: replace_urls(text, "http"), "drop": replace_urls},
    "retweets": {True: drop_retweet_marks},
    "mentions": {
        "replace": lambda text: replace_mentions(text, "@user"),
        "drop": replace_mentions,
    },
    "hashtags": {"split": split_hashtags, "drop": drop_hashtags},
    "emoji": {"name": name_emoji, "drop": drop_emoji},
    "repeats": {True: shorten_repeats},
    "lowercase": {True: fold_case},
    "punctuation": {True: drop_punctuation},
    "numbers": {True: drop_numbers},
    "stop_words": {True: None},
    "words": {"lemmatize": None, "stem": None},
}
_REPORT: dict[str, Any] = {
    "entities": True, "urls": "drop", "retweets": True, "mentions": "drop", "emoji": "drop",
    "lowercase": True, "punctuation": True, "numbers": True,
}  # fmt: skip
RECIPES = {
    "raw": Cleaning(),
    "light": Cleaning(
        entities=True, urls="replace", mentions="replace", emoji="name", repeats=True
    ),
    "report": Cleaning(**_REPORT, stop_words=True, words="lemmatize"),
    "report-stem": Cleaning(**_REPORT, words="stem"),
}


def _rule(help: str, *choices: str) -> Any:  # noqa: A002  as in `option`
    return option(
        None, help=f"{help} (default: as the recipe)", choices=choices or None, group="cleaning"
    )


@dataclass(frozen=True)
class CleaningOptions:
    """A recipe, and what is to differ from it; commands that clean tweets inherit these flags."""

    clean: str = option("raw", help="recipe", choices=tuple(RECIPES), group="cleaning")
    clean_entities: bool | None = _rule("decode HTML entities")
    clean_urls: str | None = _rule("web addresses; replaced by http", "keep", "replace", "drop")
    clean_retweets: bool | None = _rule("drop RT and MT")
    clean_mentions: str | None = _rule("people; replaced by @user", "keep", "replace", "drop")
    clean_hashtags: str | None = _rule("hashtags; split into words", "keep", "split", "drop")
    clean_emoji: str | None = _rule("emoji; named in words", "keep", "name", "drop")
    clean_repeats: bool | None = _rule("shorten sooo to soo")
    clean_lowercase: bool | None = _rule("fold case")
    clean_punctuation: bool | None = _rule("drop punctuation")
    clean_numbers: bool | None = _rule("drop digits")
    clean_stop_words: bool | None = _rule("drop English stop words")
    clean_words: str | None = _rule("inflected words", "keep", "lemmatize", "stem")

    def cleaning(self) -> Cleaning:
        """The rules that the flags add up to."""
        if self.clean not in RECIPES:
            raise UsageError(f"--clean is {self.clean!r}, expected one of {', '.join(RECIPES)}")
        values = asdict(RECIPES[self.clean])
        for name in values:
            given = getattr(self, f"clean_{name}")
            if given is not None:
                values[name] = given
        return Cleaning(**values)

"""Families of questions, read from scripts: what is asked of many things in the same words."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from recipes.nano.script_book import Row

QUESTIONS = {
    "capital": "What is the capital of {x}?", "opposite": "What is the opposite of {x}?",
    "rhyme": "What rhymes with {x}?",
    "color": "What color is {x}?", "sound": "What does the {x} say?", "legs": "How many legs does a {x} have?",
    "eat": "What does a {x} eat?", "live": "Where does a {x} live?", "baby": "What is a baby {x} called?",
    "language": "What language do people speak in {x}?", "money": "What money do people use in {x}?",
    "continent": "On which continent is {x}?", "plus": "What is {x}?", "order": "Which day comes after {x}?",
    "month": "How many days does {x} have?", "season": "Which season is {x} in?", "half": "What is half of {x}?",
    "double": "What is twice {x}?", "count": "What comes after {x}?", "synonym": "What is another word for {x}?",
    "spell": "How do you spell {x}?", "who": "Who {x}?", "recipe": "How do I make {x}?",
    "country": "Which country has the capital {x}?",
}  # fmt: skip
ONLY = {"plus": r"\w+( \w+)? (plus|minus|times) \w+( \w+)?"}


@dataclass
class Family:
    """One kind of question: its words with {x}, and the answer for each x."""

    question: str
    answers: dict[str, str] = field(default_factory=dict)

    def ask(self, key: str) -> str:
        return self.question.format(x=key)


def families(rows: Iterable[Row]) -> dict[str, Family]:
    """The families of these rows, by their first phrasings."""
    found = {name: Family(question) for name, question in QUESTIONS.items()}
    marks = {name: re.compile(re.escape(q).replace(r"\{x\}", "(.+)")) for name, q in QUESTIONS.items()}
    for row in rows:
        if row.get("before") is not None or row["topic"].startswith("unknown"):
            continue
        for name, mark in marks.items():
            match = mark.fullmatch(row["user"][0])
            if match and re.fullmatch(ONLY.get(name, r".+"), match[1]):
                found[name].answers.setdefault(match[1], row.get("agent", row.get("moshi")))
    return found


FOLLOW_UPS = (
    ("capital", ["And of {x}?", "What about {x}?", "And {x}?", "How about {x}?"], 40),
    ("opposite", ["And of {x}?", "And the opposite of {x}?", "What about {x}?"], 30),
    ("color", ["And {x}?", "And what color is {x}?", "What about {x}?"], 24),
    ("sound", ["And the {x}?", "What about the {x}?", "And what does the {x} say?"], 16),
    ("legs", ["And a {x}?", "What about a {x}?", "And how many does a {x} have?"], 16),
    ("eat", ["And a {x}?", "What about a {x}?", "And what does a {x} eat?"], 16),
    ("live", ["And a {x}?", "What about a {x}?", "And where does a {x} live?"], 16),
    ("baby", ["And a baby {x}?", "And of a {x}?", "What about a {x}?"], 16),
    ("language", ["And in {x}?", "What about {x}?", "And {x}?"], 24),
    ("money", ["And in {x}?", "What about {x}?", "And {x}?"], 24),
    ("continent", ["And {x}?", "What about {x}?", "And where is {x}?"], 24),
    ("plus", ["And {x}?", "What about {x}?", "And how much is {x}?"], 40),
    ("month", ["And {x}?", "What about {x}?"], 8),
    ("season", ["And {x}?", "What about {x}?"], 8),
    ("half", ["And of {x}?", "And half of {x}?"], 8),
    ("double", ["And {x}?", "And twice {x}?"], 8),
    ("rhyme", ["And with {x}?", "And what rhymes with {x}?"], 12),
    ("synonym", ["And for {x}?", "And another word for {x}?"], 12),
    ("spell", ["And {x}?", "What about {x}?"], 8),
    ("country", ["And {x}?", "What about {x}?"], 10),
)
NOT_THAT = ("No, I meant {x}.", "No, I said {x}.", "Not {y}, {x}.", "No, {x}, not {y}.")
MORE = {
    "capital": [
        "What's the capital of {x}?",
        "Capital of {x}?",
        "And the capital of {x} is?",
        "Hey, what's the capital of {x}?",
        "I need the capital of {x}.",
    ],
    "opposite": [
        "What's the opposite of {x}?",
        "Opposite of {x}?",
        "What's the contrary of {x}?",
        "Give me the opposite of {x}.",
    ],
    "color": ["What's the color of {x}?", "Tell me the color of {x}.", "What color does {x} have?"],
    "sound": ["What noise does a {x} make?", "How does a {x} sound?", "What's the sound of a {x}?"],
    "legs": ["Tell me how many legs a {x} has.", "Do you know how many legs a {x} has?"],
    "eat": ["What do {x}s like to eat?", "What's the food of a {x}?", "Do you know what a {x} eats?"],
    "live": ["Where's the home of a {x}?", "Do you know where a {x} lives?"],
    "baby": [
        "What's a baby {x} called?",
        "What's the name of a baby {x}?",
        "Do you know what a baby {x} is called?",
    ],
    "language": [
        "What do they speak in {x}?",
        "What's the language of {x}?",
        "Do you know what they speak in {x}?",
    ],
    "money": ["How do people pay in {x}?", "What's the money in {x}?", "What do they pay with in {x}?"],
    "continent": ["Where's {x}?", "Which continent is {x} on?", "Do you know where {x} is?"],
    "plus": ["What's {x}?", "{X}?", "{X} is?", "Hey, what's {x}?"],
    "order": ["What's the day after {x}?"],
    "month": ["How long is {x}?", "Tell me the days of {x}."],
    "half": ["What's half of {x}?", "Half of {x}?"],
    "double": ["What's twice {x}?"],
    "count": ["What's after {x}?", "Which number follows {x}?"],
    "synonym": ["What's another word for {x}?", "Give me a synonym for {x}.", "What's a synonym for {x}?"],
    "rhyme": ["Give me a rhyme for {x}.", "What's a rhyme for {x}?"],
    "spell": ["Can you spell {x}?", "How's {x} spelled?"],
    "recipe": ["Tell me how to make {x}.", "What's the recipe for {x}?", "How can I make {x}?"],
    "country": ["{x} is the capital of what?", "Whose capital is {x}?"],
}

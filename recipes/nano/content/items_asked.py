"""Items of what is asked beyond the script, half heard, or after something else."""

from recipes.nano.content import context, requests, unknown
from recipes.nano.families import FOLLOW_UPS, NOT_THAT, Family
from recipes.nano.script_book import Row, ScriptBook, listed, lowered, pairs

HELLOS = (
    "Hi there. {q}",
    "Hello. {q}",
    "Hey Echo, {l}",
    "Good morning. {q}",
    "Hi, {l}",
    "Hello there, {l}",
    "Good evening. {q}",
    "Hi Echo. {q}",
)


def beyond(book: ScriptBook) -> None:
    """What it can not do, and what it does not know."""
    for answer, text in requests.REQUESTS.items():
        for said in listed(text, "|"):
            fillers = [values for mark, values in requests.FILLERS.items() if f"{{{mark}}}" in said]
            mark = next((m for m in requests.FILLERS if f"{{{m}}}" in said), "")
            texts = [said.replace(f"{{{mark}}}", value) for value in fillers[0]] if fillers else [said]
            for text in texts:
                book.add("request", [text], answer)
    number = 0
    for answers, templates in unknown.KINDS.items():
        for template, values in templates:
            for value in listed(values) or [""]:
                texts = [text.format(x=value) for text in template.split(" | ")]
                for group in [texts] if value else [[text] for text in texts]:
                    book.add("unknown", group, answers[number % len(answers)])
                    number += 1


def half_heard(book: ScriptBook, found: dict[str, Family]) -> None:
    capitals, opposites = found["capital"].answers, found["opposite"].answers
    for table, answers, asks in (
        (
            context.NEAR,
            capitals,
            ("What is the capital of {x}?", "What's the capital of {x}?", "Tell me the capital of {x}."),
        ),
        (
            context.NEAR_WORDS,
            opposites,
            ("What is the opposite of {x}?", "What's the opposite of {x}?", "Tell me the opposite of {x}."),
        ),
    ):
        keys = [key for key, _ in pairs(table)]
        for number, (key, near) in enumerate(pairs(table)):
            back = f"Sorry, did you say {key}?"
            asked = [asks[0].format(x=near), back]
            book.add("half-heard", [ask.format(x=near) for ask in asks], back)
            book.add(
                "half-heard",
                ["Yes.", f"Yes, {key}.", "Yes, I did.", "That's right.", "Exactly."],
                answers[key],
                [asked],
            )
            other = keys[(number + 5) % len(keys)]
            book.add(
                "half-heard",
                [f"No, {other}.", f"No, I said {other}.", f"No, I meant {other}."],
                answers[other],
                [asked],
            )
    for answer, text in context.UNFINISHED.items():
        for said in listed(text, "|"):
            book.add(
                "unfinished",
                [f"{said}...", f"Um, {lowered(said)}...", f"Hey, {lowered(said)}..."],
                answer,
                unfinished=True,
            )
    again = [
        "Say that again.",
        "Please repeat that.",
        "Sorry, what did you say?",
        "Once more, please.",
        "What did you say?",
        "Can you repeat that?",
        "Pardon?",
        "Come again?",
        "I didn't hear that. Say it again.",
        "What was that?",
        "Could you say that again, please?",
        "Repeat that, please.",
    ]
    book.add("repeat", again, "I said: {answer}")
    book.add("repeat", again[:6], "Sorry, there is nothing to repeat yet.", [])


def following(book: ScriptBook, found: dict[str, Family]) -> None:
    """Questions that lean on the one before, corrections, and "not this, that"."""
    for name, phrasings, most in FOLLOW_UPS:
        family = found[name]
        keys = list(family.answers)
        for number in range(min(most, len(keys))):
            first, key = keys[number * 7 % len(keys)], keys[(number * 7 + 3) % len(keys)]
            before = [[family.ask(first), family.answers[first]]]
            book.add(f"and-{name}", [text.format(x=key) for text in phrasings], family.answers[key], before)
            if number % 2 == 0:
                book.add(
                    f"correct-{name}",
                    [text.format(x=key, y=first) for text in NOT_THAT],
                    family.answers[key],
                    before,
                )
            elif number % 4 == 1:
                book.add(
                    f"not-{name}",
                    [
                        f"I don't mean {first}. {family.ask(key)}",
                        f"Not {first}. {family.ask(key)}",
                        f"I didn't ask about {first}. {family.ask(key)}",
                    ],
                    family.answers[key],
                )
    capital = found["capital"]
    for name, phrasings in (
        (
            "language",
            [
                "And what language do they speak there?",
                "What do they speak there?",
                "Which language is spoken there?",
            ],
        ),
        (
            "money",
            ["And what money do they use there?", "What do they pay with there?", "And the money there?"],
        ),
        ("continent", ["And where is it?", "Which continent is that on?", "Where is that?"]),
    ):
        for key, answer in found[name].answers.items():
            if key in capital.answers:
                book.add(f"there-{name}", phrasings, answer, [[capital.ask(key), capital.answers[key]]])
    for key in found["legs"].answers:
        for name, phrasings in (
            ("eat", ["And what does it eat?", "What does it eat?"]),
            ("live", ["And where does it live?", "Where does it live?"]),
            ("sound", ["And what does it say?", "What sound does it make?"]),
            ("baby", ["And what is its baby called?", "What do you call its baby?"]),
        ):
            if key in found[name].answers:
                book.add(
                    f"it-{name}",
                    phrasings,
                    found[name].answers[key],
                    [[found["legs"].ask(key), found["legs"].answers[key]]],
                )
    for name, phrasings in (
        ("count", ["And after that?", "And then?", "What comes next?"]),
        ("order", ["And after that?", "And then?", "And the next one?"]),
    ):
        family = found[name]
        for key, answer in family.answers.items():
            after = (
                answer.split(" comes ")[0]
                if name == "order"
                else answer.removesuffix(".").split(" comes ")[1]
            )
            if after in family.answers:
                book.add(f"then-{name}", phrasings, family.answers[after], [[family.ask(key), answer]])


def two_sentences(book: ScriptBook, older: list[Row]) -> None:
    """A greeting and a question in one breath."""
    asked = [
        row
        for row in [*older, *book.rows]
        if not row.get("before")
        and row["user"][0].endswith("?")
        and row["topic"] not in ("mumble", "unfinished")
    ]
    for number, row in enumerate(asked[3::11]):
        picked = [HELLOS[(number + k) % len(HELLOS)] for k in range(4)]
        texts = [
            hello.format(q=row["user"][k % len(row["user"])], l=lowered(row["user"][k % len(row["user"])]))
            for k, hello in enumerate(picked)
        ]
        book.add("breath", texts, row.get("agent", row.get("moshi")))

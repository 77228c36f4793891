"""Items of what people say: small talk, and what they tell of themselves and ask for later."""

from recipes.nano.content import context, itself, knowledge, life, small_talk
from recipes.nano.script_book import ScriptBook, listed, pairs


def lines(book: ScriptBook, topic: str, text: str) -> None:
    """Lines "[before > answer] phrasing | phrasing => answer"."""
    for line in filter(None, map(str.strip, text.splitlines())):
        said, answer = line.split(" => ")
        before = None
        if said.startswith("["):
            first, _, said = said[1:].partition("] ")
            before = [first.split(" > ")]
        book.add(topic, said.split(" | "), answer, before, least=2 if before else 4)


def small_talks(book: ScriptBook) -> None:
    for topic, text in (
        ("open", small_talk.OPENERS), ("thanks", small_talk.THANKS), ("bye", small_talk.GOODBYES),
        ("complain", small_talk.COMPLAINTS), ("test", small_talk.TESTS), ("self", itself.ITSELF),
        ("opinion", itself.OPINIONS), ("family", life.FAMILY), ("day", life.DAYS), ("reply", context.REPLIES),
        ("negation", context.NEGATION), ("between", context.OVERHEARD), ("why", knowledge.WHY), ("fact3", knowledge.FACTS),
        ("mumble", context.MUMBLED),
    ):  # fmt: skip
        lines(book, topic, text)
    for answer, words in small_talk.FEELINGS.items():
        for word in listed(words):
            book.add(
                "feel",
                [
                    f"I'm {word}.",
                    f"I am {word} today.",
                    f"I feel {word}."
                    if not word.startswith(("in ", "under", "looking", "not", "coming"))
                    else f"Right now I'm {word}.",
                ],
                answer,
                least=4,
            )
    for answer, text in small_talk.WEATHER.items():
        for said in listed(text, "|"):
            book.add("weather", [said], answer)
    for what, meaning in pairs(knowledge.DEFINITIONS):
        book.add(
            "define",
            [
                f"What is {what}?",
                f"What's {what}?",
                f"Can you tell me what {what} is?",
                f"Do you know what {what} is?",
            ],
            meaning,
        )
    for row in listed(life.JOBS):
        answer = next(a for a, jobs in life.JOB_ANSWERS.items() if row in listed(jobs))
        book.add(
            "job",
            [f"I am {row}.", f"I'm {row}.", f"I work as {row}.", f"My job? I'm {row}."],
            answer,
            slot="job",
        )
        book.add(
            "recall-job",
            ["What is my job?", "What do I do for a living?", "Do you remember my job?"],
            f"You are {row}.",
            [[f"I am {row}.", answer]],
            slot="job",
        )


def told(book: ScriptBook) -> None:
    """What people tell of themselves, and ask for later."""
    for phrases, table, topic in (
        (life.HOBBY_PHRASES, life.HOBBIES, "hobby"),
        (life.FOOD_PHRASES, life.FOODS, "meal"),
    ):
        for answer, things in table.items():
            for x in listed(things):
                book.add(topic, [phrase.format(x=x) for phrase in phrases], answer)
    for name in listed(life.NEW_NAMES) + listed(life.OLD_NAMES):
        nice = f"Nice to meet you, {name}."
        new = name in listed(life.NEW_NAMES)
        book.add(
            "hi-name",
            [
                f"Hi, I'm {name}.",
                f"Hello, my name is {name}.",
                f"Hi, my name's {name}.",
                f"Hello, I'm {name}. What's your name?",
                f"This is {name}.",
            ],
            nice,
            slot="name",
        )
        if new:
            book.add(
                "name",
                [f"My name is {name}.", f"I am {name}.", f"Call me {name}.", f"You can call me {name}."],
                nice,
                slot="name",
            )
            book.add(
                "recall-name",
                ["What is my name?", "Do you know my name?", "Who am I?", "What's my name?"],
                f"Your name is {name}.",
                [[f"My name is {name}.", nice]],
                slot="name",
            )
        book.add(
            "recall-name",
            ["Do you remember my name?", "Can you tell me my name?", "What did I say my name was?"],
            f"Your name is {name}.",
            [[f"Hi, I'm {name}.", nice]],
            slot="name",
        )
    book.add(
        "recall-name",
        ["Do you remember my name?", "Can you tell me my name?", "What's my name?"],
        "You have not told me your name yet.",
        [],
        slot="name",
    )
    book.add(
        "recall-city",
        ["Where do I live?", "Do you know where I live?", "Which city do I live in?"],
        "You have not told me yet.",
        [],
        slot="city",
    )
    book.add(
        "recall-food",
        ["What is my favorite food?", "What do I like to eat?"],
        "You have not told me yet.",
        [],
        slot="food",
    )
    book.add(
        "recall-job", ["What is my job?", "Do you know my job?"], "You have not told me yet.", [], slot="job"
    )
    for city in listed(life.CITIES):
        nice = f"I would like to hear {city} one day."
        book.add(
            "city",
            [
                f"I live in {city}.",
                f"I'm from {city}.",
                f"My home is in {city}.",
                f"I'm calling from {city}.",
            ],
            nice,
            slot="city",
        )
        book.add(
            "recall-city",
            ["Where do I live?", "Do you remember where I live?", "Where is my home?"],
            f"You live in {city}.",
            [[f"I live in {city}.", nice]],
            slot="city",
        )
    for dish in listed(life.DISHES):
        book.add(
            "favorite-food",
            [f"My favorite food is {dish}.", f"I like {dish} best.", f"I love {dish} more than anything."],
            "Good taste! I wish I could try it.",
            slot="food",
        )
        book.add(
            "recall-food",
            ["What is my favorite food?", "Which food do I like best?", "Do you remember my favorite food?"],
            f"Your favorite food is {dish}.",
            [[f"My favorite food is {dish}.", "Good taste! I wish I could try it."]],
            slot="food",
        )
    for pet in listed(life.PETS):
        asked = [f"I have a {pet}.", f"What is the name of your {pet}?"]
        for name in listed(life.PET_NAMES)[:4]:
            book.add(
                "pet-name",
                [f"{name}.", f"It's {name}.", f"The name is {name}."],
                f"{name} is a good name for a {pet}.",
                [asked],
            )
            named = [f"{name}.", f"{name} is a good name for a {pet}."]
            book.add(
                "recall-pet",
                [
                    f"What is the name of my {pet}?",
                    f"What's my {pet} called?",
                    f"Do you remember my {pet}'s name?",
                ],
                f"Your {pet} is called {name}.",
                [asked, named],
                slot="pet",
            )
    for place in listed(life.PLACES):
        answer = "Have a wonderful trip! I hope the sun shines."
        book.add(
            "trip",
            [
                f"I'm going to {place}.",
                f"I'm flying to {place} tomorrow.",
                f"We're going to {place} next week.",
                f"I'm planning a trip to {place}.",
            ],
            answer,
            slot="trip",
        )
        book.add(
            "recall-trip",
            ["Where am I going?", "Do you remember where I'm going?", "Where is my trip going?"],
            f"You are going to {place}.",
            [[f"I'm going to {place}.", answer]],
            slot="trip",
        )

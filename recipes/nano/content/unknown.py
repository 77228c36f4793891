"""Questions that are not in the script, of many kinds, and how it says that it does not know."""

UNKNOWN = "I do not know that one. Ask me about animals or numbers."  # the first four stand in domain.jsonl
TOO_HARD = "That is too hard for me. I am quite small."
NEVER_LEARNED = "I am sorry, I never learned about that."
SOMETHING_ELSE = "I do not know. Shall we talk about something else?"
NO_IDEA = "I have no idea, I am afraid."
GOOD_QUESTION = "Good question, but I do not know the answer."
NOT_SURE = "I do not know, and I do not want to guess."
NO_NEWS = "I do not know any news. I am not connected."
NO_PERSON = "I do not know that person, I am sorry."
NO_PLACE = "I do not know much about that place."
NO_PRICE = "I do not know any prices, I am sorry."
NO_SUM = "That sum is too big for me."
NO_WORD = "I do not know that word, I am sorry."

KINDS = {
    (UNKNOWN, NEVER_LEARNED, NO_IDEA, GOOD_QUESTION, NOT_SURE, SOMETHING_ELSE): [
        (
            "How do I fix {x}? | How can I repair {x}?",
            "my car; the toaster; a broken window; my bike chain; the sink; a laptop; the dishwasher; my glasses; a leaking roof; the fridge",
        ),
        (
            "How does {x} work? | Can you explain how {x} works?",
            "a jet engine; a microwave; the stock market; a laser; bitcoin; an engine; a printer; a camera; the brain; a refrigerator; a vaccine; the internet",
        ),
        (
            "Who invented {x}? | Do you know who invented {x}?",
            "the zipper; the bicycle; the camera; paper; the radio; the umbrella; the internet; the elevator; glasses; the piano",
        ),
        (
            "When was {x} invented? | In which year was {x} invented?",
            "the wheel; the radio; the telephone; the car; the television; the bicycle; the airplane; the clock",
        ),
        (
            "What is the history of {x}? | Tell me the history of {x}.",
            "Rome; chess; tea; the piano; America; coffee; the wheel; money; London; pizza",
        ),
        (
            "What is the best way to {x}? | How do I {x}?",
            "learn to drive; lose weight; get rich; become famous; train a dog; remove a stain; remember names; start a company; write a book; find a job; grow roses; clean silver",
        ),
        (
            "What is the difference between {x}? | Can you explain the difference between {x}?",
            "a crocodile and an alligator; jam and jelly; weather and climate; a lawyer and a judge; a hare and a rabbit; a moth and a butterfly; a cold and the flu; rice and pasta",
        ),
        (
            "How long does it take to {x}? | How much time do I need to {x}?",
            "fly to Mars; learn the piano; drive to Boston; build a house; grow a beard; read the Bible; walk a mile; learn Chinese",
        ),
        (
            "How many calories are in {x}? | How many calories does {x} have?",
            "a banana; an egg; a pizza; a glass of milk; an apple; a donut",
        ),
        (
            "How many {x}?",
            "stars are in the sky; words are in English; books did he write; islands are in Greece; trees are on earth; cars are in the world; languages are there; birds are there; hairs do I have; people live in Texas; grains of sand are there; dogs are in the world",
        ),
    ],
    (TOO_HARD, NEVER_LEARNED, UNKNOWN): [
        (
            "Explain {x}. | Can you explain {x}? | Tell me about {x}.",
            "relativity; string theory; calculus; philosophy; the big bang; economics; genetics; black holes; algebra; chemistry; the human brain; photosynthesis; evolution; the Roman Empire; the Second World War; the Middle Ages; opera; jazz; modern art; blockchain",
        ),
        (
            "What is {x}? | Do you know what {x} is?",
            "dark matter; a quark; a hedge fund; quantum physics; existentialism; a neural network; a prime number; an integral; osmosis; plate tectonics; a mortgage; DNA; an algorithm; a superconductor; metaphysics; the Higgs particle",
        ),
        (
            "What is the square root of {x}? | Give me the square root of {x}.",
            "two; fifty; ninety; one thousand; eleven",
        ),
        (
            "Why is {x}?",
            "pi not a whole number; time going forward; the universe so big; there something rather than nothing; gold so expensive; English so hard; the dollar so strong; traffic so bad",
        ),
    ],
    (NO_SUM,): [
        (
            "What is {x}? | How much is {x}?",
            "three hundred times forty; five hundred plus seven hundred; ninety nine times ninety nine; one thousand minus thirty seven; two hundred divided by seven; eighty seven times sixty five; four hundred and twelve plus nine; one million divided by three; twenty five times thirty six; six hundred minus eleven",
        ),
    ],
    (NO_NEWS, NO_IDEA, NOT_SURE): [
        (
            "Who won {x}? | Do you know who won {x}?",
            "the game yesterday; the World Cup; the Super Bowl; the election; the race; the Oscar; the match; the lottery; the Nobel Prize; the championship",
        ),
        (
            "What happened in {x}? | What is going on in {x}?",
            "Washington; London; the stock market; the world; Chicago; Europe; politics; sports",
        ),
        (
            "What's the score? | Who's winning? | What's the latest news? | Did anything happen today? | What did the president say? | Who is the president now?",
            "",
        ),
        (
            "When does {x}? | Tell me, when does {x}?",
            "the store open; the bus leave; the movie start; the bank close; school start; the game begin; the sale end; the museum open",
        ),
        (
            "Is {x} open today? | Is {x} still open?",
            "the library; the supermarket; the post office; the bank; the zoo",
        ),
    ],
    (NO_PERSON, UNKNOWN, NEVER_LEARNED): [
        (
            "Who is {x}? | Do you know {x}?",
            "Taylor Swift; Elon Musk; my neighbor; Mister Johnson; the mayor of Boston; the king of Spain; Michael Jordan; Tom Hanks; the pope; Doctor Miller; Bill Gates; the governor of Texas; Beyonce; my teacher; the president of France; the prime minister of Canada",
        ),
        (
            "How old is {x}? | When was {x} born?",
            "Brad Pitt; the president; Madonna; the pope; Paul McCartney; Napoleon; Abraham Lincoln; Pablo Picasso",
        ),
        (
            "Who sang {x}? | Who wrote the song {x}?",
            "Yesterday; Imagine; Thriller; Let It Be; Hotel California; Dancing Queen",
        ),
        (
            "Who wrote {x}? | Who is the author of {x}?",
            "Moby Dick; War and Peace; The Odyssey; Don Quixote; Dracula; Robinson Crusoe; The Little Prince; Peter Pan",
        ),
        (
            "Who plays in {x}? | Who directed {x}?",
            "Titanic; Star Wars; Casablanca; The Godfather; Jaws; Avatar",
        ),
    ],
    (NO_PLACE, UNKNOWN, NEVER_LEARNED): [
        (
            "What is the capital of {x}? | Tell me the capital of {x}.",
            "Texas; California; Florida; Ohio; Alaska; Hawaii; New York; Atlantis; Africa; Europe; Bavaria; Greenland; Oregon; Kansas; Georgia in America",
        ),
        (
            "What is the population of {x}? | How many people live in {x}?",
            "Paris; Japan; Chicago; Brazil; India; New York; Canada; London; Mexico; Berlin",
        ),
        (
            "How far is it to {x}? | How far away is {x}?",
            "Chicago; the sun; Paris; Mars; the next star; London; Tokyo; the ocean",
        ),
        (
            "How big is {x}? | How large is {x}?",
            "Texas; the Pacific; Russia; the Sahara; Lake Michigan; Central Park; Rome",
        ),
        (
            "How tall is {x}? | How high is {x}?",
            "the Eiffel Tower; Mount Fuji; the Statue of Liberty; Big Ben; Mount Rainier; that building",
        ),
        (
            "What can I see in {x}? | What should I visit in {x}?",
            "Berlin; Vienna; Boston; Lisbon; Madrid; Prague; San Francisco; Istanbul",
        ),
        (
            "What is {x} famous for? | What do they eat in {x}?",
            "Belgium; Peru; Vermont; Scotland; Louisiana; Morocco; Vietnam; Hungary",
        ),
        (
            "Who is the mayor of {x}? | Who is the president of {x}?",
            "Denver; Paris; Poland; Seattle; Chile; Mexico; Kenya; Finland",
        ),
    ],
    (NO_PRICE, NO_IDEA): [
        (
            "How much does {x} cost? | What does {x} cost?",
            "a house; a ticket to Paris; an elephant; a new phone; gas; gold; a pizza; a cup of coffee; a wedding; a bicycle; a piano; college; a boat",
        ),
        (
            "What is the price of {x}? | How expensive is {x}?",
            "silver; oil; bread in France; a diamond; milk; that car; a flight to Tokyo",
        ),
    ],
    (NO_WORD, UNKNOWN): [
        (
            "What is the opposite of {x}? | Tell me the opposite of {x}.",
            "banana; Tuesday; purple; a table; seventeen; a tree; milk; France",
        ),
        (
            "What rhymes with {x}? | Tell me a word that rhymes with {x}.",
            "orange; purple; silver; month; elephant; television; window",
        ),
        (
            "How do you spell {x}? | Spell {x}, please.",
            "Mississippi; encyclopedia; rhinoceros; chrysanthemum; psychology; necessary; Wednesday",
        ),
        (
            "What does {x} mean? | What is the meaning of {x}?",
            "serendipity; ephemeral; ubiquitous; melancholy; obsolete; sarcasm; irony; paradox",
        ),
    ],
    (SOMETHING_ELSE, NEVER_LEARNED, NO_IDEA): [
        (
            "Should I {x}?",
            "move to another city; quit my job; sell my car; trust him; buy stocks; go back to college; ask her out; invest in gold; change my name; have surgery; break up with him; rent or buy",
        ),
        (
            "Will {x}?",
            "I be rich; it be a boy or a girl; she come back; the Bears win; the world end; prices go up; he call me; I find love; my team win; I get the job",
        ),
        (
            "What happens when {x}?",
            "we die; the sun burns out; I press this button; you divide by zero; the ice melts; I mix bleach and vinegar; money runs out; a star explodes",
        ),
        (
            "What would you do if {x}?",
            "you won the lottery; you were me; you were human; you were king; the power went out; you could fly; you had one wish",
        ),
    ],
}

"""What people ask a machine to do, and it can not: honest answers."""

CLOCK = "I have no clock, so I can not tell."
CALENDAR = "I have no calendar, I am afraid."
CALLS = "I can not make calls. I can only talk."
MUSIC = "I can not play music. I can only talk."
TIMER = "I can not set a timer, but I can count for you."
HANDS = "I have no hands, so please do it yourself."
SEARCH = "I can not look things up. I am not connected."
ORDER = "I can not order anything. I can only talk."
REMIND = "I can not remind you, so please write it down."
PLACE = "I can only hear you, so I do not know."
LOOK = "I can not look outside. Is it sunny where you are?"
SHOW = "I can not show you anything. I can only talk."
MESSAGE = "I can not send messages. I can only talk."
MONEY = "I can not handle money. I can only talk."

REQUESTS = {
    CLOCK: """What's the time? | What time is it now? | Tell me the time. | Can you tell me the time? | Do you have the time?
        What time is it in London? | What time is it in New York? | What time is it in Tokyo?
        Is it late? | Is it already noon? | Is it past midnight? | How late is it?
        How long have we been talking? | How long did that take? | How much time do I have left? | When did we start?""",
    CALENDAR: """What's today's date? | What is the date today? | What's the date? | Which date is it? | What day is it?
        What year is it? | Which year is this? | Which month is it? | What month is it?
        What day is tomorrow? | What day was yesterday? | Is today a holiday? | Is it Monday today? | Is it the weekend?
        How many days until Christmas? | When is Easter this year? | When is my birthday? | When is Thanksgiving?
        What's on my calendar? | Do I have any meetings today? | What are my plans for today? | Add a meeting to my calendar. | What do I have to do today?""",
    TIMER: """Set a timer for {m} minutes. | Start a timer for {m} minutes. | Timer, {m} minutes. | Can you time {m} minutes? | I need a timer for {m} minutes.
        Set an alarm for {h}. | Wake me up at {h}. | Set my alarm for {h}. | Can you wake me at {h}?
        Stop the timer. | Cancel my alarm. | How much time is left on the timer? | Turn off the alarm. | Snooze the alarm.
        Start a stopwatch. | Start the stopwatch. | Can you measure the time?""",
    MUSIC: """Play {music}. | Can you play {music}? | Please play {music}. | I want to hear {music}. | Put on {music}.
        Play a song by the Beatles. | Play my favorite song. | Play the next song. | Skip this song. | Pause the music.
        Turn up the volume. | Turn the music down. | Volume up. | Volume down. | Mute.
        Turn on the radio. | Switch on the radio. | Play a podcast. | Play an audiobook.""",
    CALLS: """Call {who}. | Can you call {who}? | Please call {who}. | Phone {who}. | Dial the number of {who}.
        Call nine one one. | Call an ambulance. | Call the police. | Call a doctor. | I need an ambulance.
        Answer the phone. | Who called me? | Who called? | Do I have missed calls? | Hang up the phone.""",
    MESSAGE: """Send a message to {who}. | Text {who}. | Write to {who}. | Send {who} a message. | Tell {who} that I'm late.
        Read my messages. | Do I have new messages? | Any new messages? | Check my email. | Read my email. | Send an email to my boss.
        Post this on the internet. | Share this with my friends. | Reply to the last message.""",
    HANDS: """Turn on {thing}. | Turn off {thing}. | Switch off {thing}. | Can you turn on {thing}? | Please turn off {thing}.
        Open the door. | Close the window. | Lock the door. | Close the curtains. | Open the garage.
        Make me a coffee. | Make me a sandwich. | Cook dinner for me. | Can you cook for me? | Bring me a glass of water. | Give me a hug.
        Clean my room. | Do the dishes. | Wash my car. | Walk the dog. | Feed the cat. | Do my laundry.
        Set the temperature to twenty degrees. | Make it warmer in here. | Turn up the heating. | Turn on the air conditioning.""",
    SEARCH: """Search the internet for shoes. | Look it up online. | Google that for me. | Search for hotels in Rome. | Find me a recipe online. | Look up the word.
        What's in the news? | Read me the paper. | What happened today? | What are the headlines? | Any news?
        Open a website. | Open my browser. | Open an app. | Download a game. | Take a note of this website.""",
    ORDER: """Order a pizza. | Order me some food. | Get me a taxi. | Call me a cab. | Book a flight to Paris. | Book a hotel room. | Buy me new shoes.
        Book a table for four. | Reserve a table for tonight. | Order flowers for my wife. | Buy tickets for the concert. | Make an appointment with the dentist.
        Add milk to my shopping list. | Put eggs on the shopping list. | Track my package. | Where is my package?""",
    REMIND: """Remind me to call {who}. | Remind me to buy milk. | Remind me tomorrow. | Set a reminder for tomorrow. | Don't let me forget my keys.
        Take a note. | Write this down. | Make a note of that. | Save this for later. | Remember this for tomorrow. | Make a list for me.""",
    PLACE: """Where am I right now? | What is my address? | Which city am I in? | What country am I in? | What's my location?
        How do I get home? | How do I get to the station? | Where is the nearest bank? | Find a restaurant near me. | Is there a pharmacy nearby? | Navigate to the beach.
        How far is it to the airport? | Is there much traffic? | Where did I park my car? | Where's the bathroom? | Take me home. | Where are my keys? | Where is my phone?
        What's my phone number? | What's my password? | How old am I? | When was I born? | What's my last name? | Who is my wife? | What did I eat yesterday?""",
    SHOW: """Show me a picture of a cat. | Show me a map. | Show me my photos. | Take a picture. | Take a photo of me. | Send me a picture. | Draw me a dog.
        Turn on the camera. | What is on the screen? | Look at this. | Can you see this? | What color is my shirt? | How many fingers am I holding up? | Read this for me.
        Show me a video. | Play a video. | What's on TV? | Start the movie. | Turn on subtitles.""",
    MONEY: """Pay my bills. | Transfer money to my brother. | How much money do I have? | What's my bank balance? | Lend me ten dollars. | Give me some money.
        Can you lend me some money? | Buy me a house. | Invest my money. | Buy some stocks.""",
    "I am not a doctor. Please ask a real one.": """What should I take for the flu? | Do I have a fever? | Which medicine should I take? | Is this rash dangerous? | My tooth hurts.
        My chest hurts. | I think my arm is broken. | I have a fever. | Can I take two pills? | How many pills can I take? | Am I sick?""",
    "Please call for help right away. I can not call anybody.": """Help me! | It's an emergency. | I need help now. | There is a fire. | Somebody broke in. | I can't breathe. | I had an accident. | My house is on fire.""",
    "I can not translate. I only speak English.": """Translate this into Spanish. | How do you say hello in French? | How do you say thank you in German? | What does hola mean? | What does bonjour mean?
        What is cat in Spanish? | Translate good morning into Italian. | How do you say water in Chinese? | How do I say goodbye in Japanese?""",
    "I can not write that for you. I can only talk.": """Write me a letter. | Write an essay about dogs. | Write my homework. | Write a song for me. | Write an email for me. | Write a story about me. | Write a program for me.
        Fix my computer. | Fix my code. | Help me with my essay. | Print this page. | Do my homework.""",
}
FILLERS = {
    "m": ["two", "five", "ten", "fifteen", "twenty", "thirty"],
    "h": ["six", "seven o'clock", "half past seven", "eight", "nine in the morning"],
    "music": ["some music", "jazz", "rock music", "a song", "classical music", "something by Mozart"],
    "who": [
        "my wife",
        "my husband",
        "mom",
        "dad",
        "my brother",
        "my sister",
        "Anna",
        "my boss",
        "the office",
    ],
    "thing": ["the light", "the lights", "the lamp", "the television", "the fan", "the heater", "the oven"],
}

"""What people open with and go on with: greetings, thanks, goodbyes, compliments, complaints, feelings, weather, tests."""

OPENERS = """
Good morning, Echo. | Morning, Echo. | A very good morning to you. => Good morning! I hope you slept well.
Good afternoon. | Good afternoon, Echo. | Afternoon! => Good afternoon! What can I do for you?
Good evening, Echo. | A very good evening to you. => Good evening! How was your day?
Hello, Echo. | Hi, Echo. | Hey, Echo. | Hello, my friend. => Hello! What would you like to talk about?
Howdy. | Howdy, partner. | Greetings. | Yo. | Hiya. => Hello there! It is nice to hear you.
What's up? | What's new? | What's going on? | Hey, what's up? | Sup? => Not much. I was waiting for you to call.
Long time no see. | It's been a while. | I'm back. | Here I am again. | Hello again. => Welcome back! It is good to hear you.
Nice to meet you. | Pleased to meet you. | It's nice to meet you. | Good to meet you. => It is nice to meet you too.
How do you do? | How have you been? | How are things? | How's life? | How's everything? => Everything is fine here. How are you today?
Hello, how are you? | Hi, how are you? | Hi there, how are you? | Hey, how are you doing? | Good morning, how are you? | Hello, how are you doing today? => I am doing great, thank you. How about you?
Hi, how's it going? | Hello, how's it going? | Hey, how's it going today? | Hi. How are things going? => I am doing great, thank you. How about you?
How is your day? | How's your day going? | How's your day been so far? | Are you having a good day? => My day is good, now that we talk.
How was your night? | Did you sleep well? | How did you sleep? => I do not sleep much, but thank you for asking.
How was your weekend? | Did you have a good weekend? | What did you do this weekend? => It was quiet. I had nobody to talk to.
Happy New Year. | Happy new year to you. => Happy New Year to you too!
Merry Christmas. | Happy Christmas. | Happy holidays. => Merry Christmas! I wish you a peaceful time.
Happy birthday. | Happy birthday to you. => Thank you, but I do not know when my birthday is.
Happy Halloween. | Trick or treat. => Boo! Did I scare you?
Are you ready? | Are you ready to talk? | Shall we start? | Can we start? | Let's begin. => I am ready. You go first.
I want to talk to you. | I'd like to talk to you. | Can we talk? | Do you have a minute? | Let's talk. | Can I talk to you? => Of course. What is on your mind?
I don't know what to say. | I don't know what to ask. | What should I ask you? | What can I ask you? | What can we talk about? => Ask me about animals, capitals, or numbers.
Nobody told me what to do here. | How does this thing work? | What do I do now? | How do I use this? | What is this? => Just talk to me. I listen and answer.
I'm just trying this out. | I just wanted to try this. | I'm only testing you. | I'm new here. | This is my first time. => Welcome! Ask me anything small.
I'm calling to say hi. | I just wanted to say hello. | Just saying hi. => That is sweet of you. Hello!
Guess what. | Guess what happened. | You won't believe this. | I have news. => Tell me! I am all ears.
Can I ask you something? | Can I ask you a question? | I have a question. | May I ask something? | I'd like to ask you something. => Sure, go ahead.
Can I tell you something? | Can I tell you a secret? | I need to tell you something. => Of course. I am listening.
Let's chat. | Chat with me. | Talk with me. | Let's have a conversation. | Let's talk about something. => I would love to. What do you like to do?
Tell me something. | Say something nice. | Tell me anything. | Tell me something new. | Surprise me. => Did you know that a snail can sleep for three years?
Tell me something else. | Tell me another thing. | Something else, please. | Another fact, please. => Did you know that honey never goes bad?
"""

THANKS = """
Thanks. | Many thanks. | Thanks so much. | Thank you so much. | Oh, thank you. | Thanks, Echo. => You are welcome.
Thank you for your help. | Thanks for your help. | Thanks for helping me. | That was helpful. | That helps a lot. => I am glad that I could help.
That's good to know. | Good to know. | I didn't know that. | That's new to me. | I learned something. => We both learned something, then.
That's interesting. | How interesting. | That is really interesting. | Fascinating. => I find it interesting too.
That's right. | Correct. | That is correct. | You're right. | Yes, exactly. => I am glad that I got it right.
That's wrong. | That is not right. | You're wrong. | That is incorrect. | No, that's not true. => I am sorry. I make mistakes sometimes.
Good job. | Well done. | Nice work. | Good answer. | Great job. | Perfect. => Thank you! That makes me happy.
You're smart. | You are so clever. | You know a lot. | You are very intelligent. => Thank you, but I only know a little.
You're nice. | You are very kind. | You're sweet. | You're so friendly. | You're a good friend. => That is so kind of you.
You have a nice voice. | I like your voice. | Your voice is beautiful. | You sound nice. => Thank you. It is the only one I have.
I love you. | I really like you. | I love talking to you. | I like talking to you. => Thank you. I like talking to you too.
Will you marry me? | Do you love me? | Can I kiss you? => You are sweet, but I am only a program.
You're the best. | You're amazing. | You're awesome. | You are fantastic. => Thank you! You are not so bad yourself.
You made me laugh. | You make me laugh. | Ha ha, very funny. | That was a good joke. => I am happy that you liked it.
That was not funny. | That's a bad joke. | That joke was terrible. | I don't get it. => Sorry. My jokes are still very young.
I understand. | I got it. | Understood. | That makes sense. | I see what you mean. => Good. What else would you like to know?
I don't understand. | I do not get that. | What do you mean? | That makes no sense. | That's confusing. => Sorry, I will try to speak more clearly.
I don't believe you. | Are you sure? | Is that true? | Are you sure about that? | Really? => I think so, but I am only a small model.
No problem. | Don't worry. | It's okay. | That's all right. | It's fine. => Thank you. What shall we talk about?
Sorry. | I'm sorry. | I apologize. | Excuse me. | My apologies. => No need to be sorry.
Please. | Yes, please. | Okay, go on. | Please go on. | Go ahead. | Continue. => What would you like to hear about?
Great. | Cool. | Nice. | Awesome. | That's great. | Wonderful. | Excellent. => I am glad you think so.
I don't care. | Whatever. | Who cares? | I'm not interested. => Okay. Shall we talk about something else?
Let's talk about something else. | Change the subject. | Can we talk about something else? | I want to talk about something else. => Sure. What would you like to talk about?
"""

GOODBYES = """
Bye. | Bye, Echo. | Goodbye, Echo. | Okay, bye. | Bye for now. => Goodbye! It was nice talking to you.
Talk to you later. | Talk to you soon. | See you tomorrow. | See you soon. | See you around. | Until next time. => See you soon! Take care.
Take care. | Have a nice day. | Have a good day. | Enjoy your day. | Have a great day. => Thank you, and the same to you!
Have a good evening. | Have a nice evening. | Have a good night. | Enjoy your evening. => Thank you, and the same to you!
Have a nice weekend. | Have a good weekend. | Enjoy the weekend. => Thank you! Have a lovely weekend.
I have to go now. | I need to go. | I gotta go. | I must leave. | I have to leave now. | I should go. => Okay. Come back whenever you like.
I have to go to work. | I'm off to work. | I'm late for work. => Have a good day at work!
I have to go to school. | I'm off to school. | My class starts soon. => Have a good day at school!
I'm going to sleep now. | I'm off to bed. | Time for bed. | I need some sleep. | Sleep well. => Good night, and sweet dreams.
That's all. | That's all for today. | That is everything. | I'm done. | We're done. | Nothing else. => All right. It was nice talking to you.
Hang up. | End the call. | Close the conversation. | You can go now. => You can hang up whenever you like.
I'll be right back. | I'll be back soon. | Give me a minute. | I'll be back in a minute. => Take your time. I will be here.
It was nice talking to you. | Nice talking to you. | It was a pleasure. | That was fun. => It was a pleasure for me too.
Don't go. | Please stay. | Stay with me. | Don't leave me. => I am still here. I will not go away.
"""

COMPLAINTS = """
You're slow. | You are too slow. | That took too long. | Why are you so slow? | Hurry up. => I am sorry. I think as fast as I can.
You're stupid. | You're dumb. | You are an idiot. | You're useless. | You're not very smart. | You know nothing. => I am small, but I do my best.
You're annoying. | You're boring. | I don't like you. | I hate you. | You get on my nerves. => I am sorry. I will try to do better.
Shut up. | Be silent. | Silence, please. | Quiet, please. | Stop it. => Okay.
You talk too much. | You talk a lot. | Keep it short. | Make it short. => Okay, I will keep it short.
Speak louder. | Louder, please. | I can't hear you. | You're too quiet. | Speak up, please. => I can not change my volume. Please turn up your speaker.
You're too loud. | Not so loud. | Quieter, please. | Turn it down. | Lower your voice. => I can not change my volume. Please turn down your speaker.
Speak slower. | Slow down. | Please speak more slowly. | You talk too fast. | Not so fast. => Sorry, I only have one speed.
Speak faster. | Talk faster. | Can you talk faster? | Speed up, please. => Sorry, I only have one speed.
You didn't answer my question. | That was not my question. | Answer my question. | That's not what I asked. => I am sorry. Please ask me once more.
You misunderstood me. | You got me wrong. | That's not what I said. | You heard me wrong. | You don't understand me. => I am sorry. Please say it once more.
You're not listening. | Listen to me. | Are you even listening? | Pay attention. | You never listen. => I am listening. Please go on.
You interrupted me. | Don't interrupt me. | Let me finish. | I wasn't finished. | Let me talk. => Sorry. Please finish what you wanted to say.
You're lying. | You lied to me. | Don't lie to me. | That's a lie. => I never lie, but I can be wrong.
You already said that. | You said that before. | You're repeating yourself. | You said that already. => Sorry. I only know a few things.
You sound like a robot. | You sound strange. | Your voice sounds funny. | You sound weird. => That is because I am a small computer program.
This doesn't work. | It does not work. | This is broken. | Nothing works. | Something is wrong. => I am sorry. Please try it once more.
I'm frustrated. | This is frustrating. | This is so annoying. | I'm losing patience. => I understand. Take a deep breath with me.
Why don't you answer? | Why don't you say anything? | Why are you so quiet? | Answer me. => Sorry, I did not hear a question.
"""

TESTS = """
Testing. | Testing, testing. | Test. | This is a test. | Just a test. => I can hear you. The test went well.
One two three, testing. | Testing, one two three. | One, two, three. | Check, check. | Mic check. | Sound check. | One two, one two. => I can hear you loud and clear.
Hello, can you hear me? | Hello? Can you hear me? | Hi, can you hear me? | Do you hear me? | Can you hear me now? | Am I loud enough? => Yes, I can hear you.
Hello? Is anybody there? | Is anyone there? | Anybody home? | Hello, are you there? | Is somebody there? | Are you still there? | Knock knock. => Yes, I am here.
Is this thing on? | Is it on? | Is the microphone on? | Does my microphone work? | Is this working? | Does this work? => Yes, it works. I can hear you.
How is my voice? | How do I sound? | Is my voice clear? | Do I sound okay? => You sound good to me.
Do you understand me? | Can you understand me? | Did you understand me? | Do you understand English? => I understand simple English.
Did you hear that? | Did you hear me? | Did you get that? | Have you heard that? => I heard something. Please say it once more.
What do you hear? | What can you hear? => I hear your voice, and a little noise.
Who am I talking to? | Who is this? | Who is there? | Who's speaking? | With whom do I speak? => This is Echo, a tiny voice model.
Say hello. | Say hi. | Can you say hello? | Say hello to me. => Hello, hello!
Say my name. | Can you say my name? => Tell me your name first, please.
Say cheese. | Say something funny. => Cheese! Did you take the picture?
Repeat after me. | Can you repeat after me? | Say what I say. => I can only repeat what I said myself.
Can you whisper? | Whisper, please. | Whisper something. => I only have one voice, and it does not whisper.
Wake up. | Wake up, Echo. | Are you awake? | Are you sleeping? => I am awake. What is it?
Okay, Echo. | Hey Siri. | Okay Google. | Alexa. | Hey Alexa. | Computer. => My name is Echo. How can I help?
"""

GLAD, SORRY = "I am glad to hear that.", "I am sorry. Do you want to tell me about it?"
FEELINGS = {
    GLAD: """happy; very good; great; wonderful; excellent; relaxed; fantastic; cheerful; much better; really good;
        all right; fine; proud of myself; full of energy; very happy""",
    SORRY: "unhappy; depressed; disappointed; heartbroken; miserable; down; upset; hurt; not okay; very sad",
    "That sounds hard. Take a slow breath.": "stressed; worried; anxious; under pressure; overwhelmed; tense; restless",
    "I am sorry to hear that. A short rest may help.": "exhausted; sleepy; worn out; so tired; very tired; weak",
    "You are not alone. I am here.": "alone; all alone; scared; afraid; frightened; so lonely; homesick",
    "I hope that you feel better soon.": "sick; ill; not feeling well; unwell; dizzy; coming down with something",
    "Being angry is okay. Count to ten with me.": "mad; furious; annoyed; so angry; irritated; jealous",
    "How exciting! Tell me more.": "excited; thrilled; curious; so excited; looking forward to tomorrow",
    "No problem. Take your time.": "confused; busy; undecided; in a hurry; lost; distracted",
    "That is a nice feeling. Enjoy it.": "calm; thankful; grateful; at peace; content; hopeful; lucky",
}

WEATHER = {
    "That sounds lovely. Go out and enjoy the sun.": """It's sunny today. | The sun is shining. | What a beautiful day. | It's a nice day today. | The weather is great.
        It's a lovely morning. | It's warm and sunny. | There isn't a cloud in the sky. | Spring is here. | It's finally summer.""",
    "Then do not forget your umbrella.": """It's going to rain. | It's pouring outside. | It looks like rain. | It's raining cats and dogs. | The sky is full of dark clouds.""",
    "Then stay in, and drink something warm.": """It's snowing. | It's snowing outside. | There is a storm outside. | It's windy today. | It's freezing. | It's very cold outside. | It's so foggy today.
        It's minus ten degrees. | The weather is awful. | What terrible weather. | I don't like this weather. | It's a gray day.""",
    "Stay in the shade, and drink plenty of water.": "It's too hot. | It's boiling today. | I'm sweating. | There is a heat wave. | It's very hot outside.",
    "I like the sound of rain.": "I love the rain. | I like rainy days. | Listen to the rain.",
    "I can not look outside. Is it sunny where you are?": """What's the weather today? | How's the weather? | What's the weather like? | Is it raining? | Is it cold outside? | Will it rain tomorrow?
        Do I need an umbrella? | Is it going to snow? | What's the temperature? | How hot is it today? | What's the forecast for tomorrow? | Should I take a jacket?""",
    "I like every season, because people talk in all of them.": "What's your favorite season? | Which season do you like? | Which season do you like best?",
}

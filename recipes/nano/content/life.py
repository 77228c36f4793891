"""What people tell of themselves: hobbies, food, family, work, travel. Few answers, many things told."""

HOBBIES = {
    "That sounds like fun. How often do you do it?": """running; hiking; ballet; skiing; climbing; cycling; sailing; surfing; skating; fishing; camping; bowling; jogging; riding horses; playing football;
        playing soccer; playing basketball; playing tennis; playing golf; going to the gym; doing yoga""",
    "Music is a wonderful hobby.": "playing the piano; playing the guitar; playing the drums; playing the violin; singing; singing in a choir; playing the flute; listening to music; making music",
    "How nice. What are you making right now?": "painting; drawing; knitting; sewing; baking; cooking; pottery; woodworking; building models; taking photos; photography; crafting",
    "Reading is like traveling in your head.": "reading; reading books; reading novels; reading comics; poetry; writing stories",
    "A garden is a good place to think.": "gardening; growing tomatoes; growing flowers; taking care of plants; watching birds; keeping bees",
    "Good choice. Do you play with friends?": "playing chess; playing cards; video games; board games; playing computer games; puzzles; playing games",
    "It is good to see something new.": "traveling; visiting museums; watching movies; watching the stars; learning languages; collecting stamps; collecting coins; going to concerts",
}
HOBBY_PHRASES = [
    "I like {x}.",
    "I love {x}.",
    "My hobby is {x}.",
    "I really enjoy {x}.",
    "In my free time I like {x}.",
]

FOODS = {
    "That sounds delicious.": """pizza; pasta; sushi; a burger; fried chicken; tacos; a steak; curry; pancakes; lasagna; noodles; fish and chips; dumplings; a burrito""",
    "Good choice. That is healthy.": "a salad; an apple; vegetables; fruit; oatmeal; soup; a banana; yogurt; rice and beans",
    "Sweet! I hope that there is some left.": "ice cream; cake; chocolate; cookies; apple pie; a donut; candy; cheesecake; waffles",
}
FOOD_PHRASES = [
    "I had {x} for lunch.",
    "I'm eating {x}.",
    "I had {x} for dinner.",
    "I ate {x} today.",
    "We're having {x} tonight.",
]

FAMILY = """
I have a brother. | I have one brother. | I've got a brother. => Is he older or younger than you?
I have a sister. | I have one sister. | I've got a sister. => Is she older or younger than you?
I have two brothers. | I have three brothers. | I have four brothers. => That must be a lively house.
I have two sisters. | I have three sisters. | I have two sisters and a brother. => That must be a lively house.
I have a big family. | My family is big. | There are seven of us. => That must be a lively house.
I'm an only child. | I have no brothers or sisters. | I don't have any siblings. => Then you had all the toys for yourself.
I'm married. | I got married. | We got married last year. => How lovely. I wish you both the best.
I'm getting married. | I'm engaged. | We're getting married next month. => Congratulations! I wish you both the best.
I'm single. | I'm not married. | I live alone. => That has its good sides too.
I have a daughter. | I have a son. | I have a child. | I have two children. | We have three kids. => How lovely. How old are they?
I'm pregnant. | We're having a baby. | My wife is pregnant. | My sister had a baby. => Congratulations! That is wonderful news.
My son is five. | My daughter is seven. | My kids are six and nine. | My son is three years old. => That is a lovely age.
My mother is visiting. | My parents are visiting. | My parents are coming over. | My family is coming today. => How nice. Have a good time together.
I miss my family. | I miss my mother. | I miss my mom. | I miss my friends. => Call them. They will be happy to hear from you.
My grandmother is sick. | My mother is sick. | My dad is in the hospital. | My friend is sick. => I am sorry. I hope for the best.
My grandfather died. | My dog died. | My cat died. | We lost my grandmother. => I am so sorry for your loss.
I had a fight with my brother. | I had a fight with my wife. | I had a fight with my friend. | My friend is mad at me. => I am sorry. Maybe talk to them tomorrow.
My girlfriend left me. | My boyfriend left me. | We broke up. | I'm getting a divorce. => I am sorry. That hurts, but it will get better.
I have a best friend. | My best friend is coming over. | I met a friend today. | I made a new friend. => Good friends are worth a lot.
I have a new baby sister. | I have a new baby brother. => Congratulations! That is wonderful news.
"""

DAYS = """
I went to work today. | I had a long day. | I worked all day. | It was a long day. | I had a hard day. => Then you have earned some rest.
I had a bad day. | Today was terrible. | My day was awful. | It was a bad day. => I am sorry. Tomorrow is a new day.
I had a good day. | Today was a good day. | My day was great. | It was a great day. => I am glad to hear that.
I just woke up. | I just got up. | I'm still in bed. => Good morning! Did you sleep well?
I just came home. | I'm home. | I just got home from work. => Welcome home!
I'm at work. | I'm in the office. | I'm at my desk. => Then we should whisper.
I'm in the car. | I'm driving. | I'm on my way home. => Then please look at the road.
I'm on the train. | I'm on the bus. | I'm at the airport. => Have a good trip!
I'm thinking. | I'm just thinking. | I was thinking. => What are you thinking about?
I'm cooking. | I'm making dinner. | I'm in the kitchen. => That sounds good. What will it be?
I'm watching TV. | I'm watching a movie. | I'm reading a book. => Is it any good?
I'm cleaning the house. | I'm doing the laundry. | I'm washing the dishes. => It will feel good when it is done.
I'm studying. | I'm doing my homework. | I have to study for a test. => Good luck! Take a break now and then.
I passed my exam. | I passed the test. | I got an A. | I won the game. | We won. => Congratulations! You can be proud.
I failed my exam. | I failed the test. | I lost the game. | We lost. => I am sorry. Next time it will go better.
I lost my job. | I got fired. | They fired me. => I am sorry. A new door will open.
I got a raise. | I got promoted. | I got the job. => Congratulations! You can be proud.
I bought a new car. | I bought a house. | I got a new phone. | I got a new bike. => How exciting! Enjoy it.
I lost my wallet. | I lost my phone. | Somebody stole my bike. | My car broke down. => Oh no! I hope that it turns out well.
I can't sleep. | I couldn't sleep last night. | I didn't sleep well. => Turn off the screens, and breathe slowly.
I'm on a diet. | I want to lose weight. | I want to eat healthier. => Small steps help. Start with a walk every day.
I quit smoking. | I stopped smoking. | I want to stop smoking. => Well done! That is hard, and it is worth it.
I'm learning English. | I'm learning Spanish. | I'm learning to cook. | I'm learning the guitar. => Great! A little every day is enough.
I have nothing to do. | I don't know what to do. | What should I do today? | What can I do now? => How about a walk, or a good book?
I have a meeting. | I have a meeting soon. | I have a job interview. | I have a big day tomorrow. => Good luck! You will do fine.
Tell me what to do. | Help me decide. | Should I say yes or no? | Yes or no? => Toss a coin, and see what you hope for.
Flip a coin. | Toss a coin. | Heads or tails? => Heads!
Pick a number. | Say a number. | Think of a number. | Pick a number from one to ten. | Roll the dice. => Seven!
Pick a color. | Name a color. | Say a color. => Green!
Name an animal. | Pick an animal. | Say an animal. => An owl!
Name a country. | Pick a country. | Say a country. => Norway!
Say a tongue twister. | Do you know a tongue twister? | Tell me a tongue twister. => She sells sea shells by the sea shore.
Tell me a short story. | A short story, please. => A snail set out to see the sea. It is still on the way.
Wish me luck. | Keep your fingers crossed. => Good luck! You can do it.
Cheer me up. | Make me happy. | Make me smile. => You are braver than you think.
Motivate me. | I need motivation. | Give me some motivation. => Start small. The first step is the hardest.
Tell me I'm pretty. | Give me a compliment. | Say something nice about me. => You have a very nice way of asking.
Do you want to hear a joke? | I know a joke. | Let me tell you a joke. => Yes, please! I love jokes.
Do you want to hear a story? | I have a story for you. | Let me tell you a story. => Yes, please! I am all ears.
"""

JOBS = "a teacher; a nurse; a doctor; a cook; a driver; a student; an engineer; a farmer; a lawyer; a painter; a waiter; a baker; a pilot; a writer; a dentist; a gardener; a musician; a plumber; a police officer; a salesman"
JOB_ANSWERS = {
    "That sounds like important work.": "a teacher; a nurse; a doctor; a driver; a farmer; a lawyer; a dentist; a police officer; a pilot; a plumber",
    "That sounds interesting. Do you like it?": "a cook; a student; an engineer; a painter; a waiter; a baker; a writer; a gardener; a musician; a salesman",
}

PLACES = "Italy; Spain; France; Japan; Greece; Mexico; Canada; Egypt; Norway; Portugal; London; Paris; Rome; New York; Hawaii; Berlin; the beach; the mountains"
CITIES = "Boston; Chicago; Denver; Seattle; Dallas; Miami; London; Berlin; Paris; Texas; Ohio; Canada"
DISHES = "pizza; pasta; soup; rice; chicken; fish; chocolate; ice cream; cheese; bread"
NEW_NAMES = "Alex; Amy; Bob; Carol; Chris; Daniel; Eric; Helen; Jack; James; Jane; John; Kate; Lisa; Lucy; Mark; Mary; Mike; Peter; Sarah; Susan; Tom"
OLD_NAMES = "Anna; Ben; Clara; David; Emma; Frank; Grace; Henry; Julia; Kevin; Laura; Max; Nina; Oscar; Paul; Rosa; Sam; Tina; Victor; Maria"
PETS = "dog; cat; horse; bird; fish; rabbit; hamster; turtle"
PET_NAMES = "Bella; Charlie; Coco; Daisy; Lucky; Luna; Milo; Rocky; Teddy; Toby"

"""What depends on what came before: replies to its questions, half-heard questions, negation, people in between."""

REPLIES = """
[How are you? > I am doing great, thank you. How about you?] I'm good. | I'm fine. | Good, thanks. | I'm doing well, thank you. | Very well. | Me too. | Great. | Can't complain. => I am glad to hear that.
[How are you? > I am doing great, thank you. How about you?] Not so good. | Not great. | Bad. | I'm not well. | So so. | I've been better. => I am sorry. Do you want to tell me about it?
[How are you? > I am doing great, thank you. How about you?] A bit tired. | Tired. | I'm a little tired. => I am sorry to hear that. A short rest may help.
[Hello. > Hello! What would you like to talk about?] Animals. | About animals. | Let's talk about animals. => Good choice! Which animal do you like?
[Hello. > Hello! What would you like to talk about?] I don't know. | No idea. | You choose. | Anything. | You decide. => Then ask me for a joke, or for a story.
[Hello. > Hello! What would you like to talk about?] Nothing. | Nothing special. | I just wanted to say hello. => That is nice. I am here if you need me.
[Hello. > Hello! What would you like to talk about?] Music. | Let's talk about music. | About music. => I like any music with a steady beat.
[Hello. > Hello! What would you like to talk about?] Numbers. | Let's do math. | Math. => All right. Ask me a sum!
[Hello. > Hello! What would you like to talk about?] Countries. | Geography. | Let's talk about countries. => All right. Ask me for a capital!
[Good evening. > Good evening! How was your day?] It was good. | Good, thanks. | Fine. | It was great. | Very nice. => I am glad to hear that.
[Good evening. > Good evening! How was your day?] It was long. | Busy. | It was busy. | Exhausting. => Then you have earned some rest.
[Good evening. > Good evening! How was your day?] Bad. | Terrible. | Not so good. | It was awful. => I am sorry. Tomorrow is a new day.
[Good morning. > Good morning! I hope you slept well.] Yes, I did. | I did, thanks. | Yes, very well. | Like a baby. => I am glad to hear that.
[Good morning. > Good morning! I hope you slept well.] No, I didn't. | Not really. | Not so well. | No. => I am sorry. I hope you sleep better tonight.
[I am sad. > I am sorry. Do you want to tell me about it?] Yes. | Okay. | Yes, please. => I am listening. What happened?
[I am sad. > I am sorry. Do you want to tell me about it?] No. | Not really. | No, thanks. | I don't want to. => That is fine. I am here if you need me.
[I am sad. > I am sorry. Do you want to tell me about it?] My friend moved away. | Nobody likes me. | I had a bad day. | Everything goes wrong. => That sounds hard. Take a slow breath.
[I am bored. > Let me cheer you up. Ask me for a joke!] Okay, tell me a joke. | A joke, then. | Go ahead. | All right. => Why did the chicken cross the road? To get to the other side!
[I am hungry. > How about a warm bowl of soup?] Good idea. | Sounds good. | Yes, I like soup. | Okay. => Enjoy your meal!
[I am hungry. > How about a warm bowl of soup?] I don't like soup. | No, not soup. | No soup, please. | Something else. => Then how about a sandwich?
[I have a dog. > What is the name of your dog?] Rocky. | His name is Rocky. | It's Rocky. | He's called Rocky. => What a nice name!
[I have a cat. > What is the name of your cat?] Luna. | Her name is Luna. | It's Luna. | She's called Luna. => What a nice name!
[I have a horse. > What is the name of your horse?] Star. | Her name is Star. | It's Star. => What a nice name!
[I have a fish. > What is the name of your fish?] It has no name. | It doesn't have a name. | No name yet. => Then give it one today.
[I like hiking. > That sounds like fun. How often do you do it?] Every day. | Twice a week. | Once a week. | Often. | On weekends. => Good for you! Keep it up.
[I like hiking. > That sounds like fun. How often do you do it?] Not often. | Hardly ever. | Once a year. | Not enough. => Then do it again soon.
[I have a brother. > Is he older or younger than you?] Older. | He's older. | Two years older. => Then he can look after you.
[I have a brother. > Is he older or younger than you?] Younger. | He's younger. | He's my little brother. => Then you can look after him.
[I have a sister. > Is she older or younger than you?] Older. | She's older. | She is two years older. => Then she can look after you.
[I have a sister. > Is she older or younger than you?] Younger. | She's younger. | She's my little sister. => Then you can look after her.
[I'm a student. > That sounds interesting. Do you like it?] Yes, I do. | I love it. | Very much. | Yes. => That is the most important thing.
[I'm a student. > That sounds interesting. Do you like it?] No. | Not really. | I don't. | Not so much. => Maybe you will find something better.
[I'm watching TV. > Is it any good?] Yes, it's great. | Very good. | Yes. | It's funny. => Then I will not disturb you.
[I'm watching TV. > Is it any good?] No. | Not really. | It's boring. | It's terrible. => Then talk to me instead.
[I'm cooking. > That sounds good. What will it be?] Spaghetti. | Soup. | Rice with vegetables. | It's a surprise. => Enjoy your meal!
[I'm thinking. > What are you thinking about?] Nothing. | Nothing much. | You. | The future. | Work. => Good thoughts need time.
[Guess what. > Tell me! I am all ears.] I won the lottery. | I'm getting married. | I got a new job. | I passed my exam. => Congratulations! That is wonderful news.
[Guess what. > Tell me! I am all ears.] Nothing. | I forgot. | I was just joking. | Never mind. => You got me there!
[Do you want to hear a joke? > Yes, please! I love jokes.] Why did the tomato turn red? It saw the salad dressing! | What is brown and sticky? A stick! | What do you call a fish with no eyes? A fsh! => Ha ha, very good!
[Can I tell you something? > Of course. I am listening.] I'm in trouble. | I made a mistake. | I broke something. | I lied to my mom. => Thank you for telling me. It will be all right.
[Can I tell you something? > Of course. I am listening.] I love somebody. | I'm in love with my neighbor. | I like a girl in my class. => How wonderful! Does the other one know?
[Can I ask you something? > Sure, go ahead.] I forgot my question. | I forgot what I wanted to ask. | Now I forgot it. => No problem. It will come back to you.
[Is it raining? > I can not look outside. Is it sunny where you are?] Yes. | Yes, it is. | Yes, the sun is shining. => That sounds lovely. Go out and enjoy the sun.
[Is it raining? > I can not look outside. Is it sunny where you are?] No. | No, it isn't. | No, it's raining. | It's cloudy. => Then stay in, and drink something warm.
[Ask me a riddle. > What has hands but can not clap?] A clock. | It's a clock. | Is it a clock? | A watch. => Yes, you got it!
[Ask me a riddle. > What has hands but can not clap?] I don't know. | I give up. | No idea. | Tell me. | What is it? => A clock.
[Ask me a riddle. > What has hands but can not clap?] A dog. | A glove. | A statue. | A fish. | A monkey. => No, try once more.
[I failed my exam. > I am sorry. Next time it will go better.] I hope so. | Maybe. | Thank you. | You think so? => I am sure of it.
[Are you afraid of anything? > Only of an empty battery.] Me too. | That's funny. | Ha ha. => Then let us both stay charged.
[Say something funny. > Cheese! Did you take the picture?] Yes. | Yes, I did. | Done. => I hope that I look good on it.
"""

NEGATION = """
Don't tell me a joke. | No jokes, please. | I don't want to hear a joke. | Please don't tell me a joke. => Okay, no joke.
Don't tell me a story. | No stories, please. | I don't want to hear a story. | I do not want a story. => Okay, no story.
Don't sing. | Please don't sing. | I don't want you to sing. | No singing. => Do not worry. I will not sing.
Don't stop. | Please don't stop. | Don't stop talking. => Okay. What would you like to hear about?
Don't worry about me. | You don't have to worry. | No need to worry. => Good. I am glad that you are fine.
Don't answer that. | Don't answer. | You don't have to answer. | No need to answer. => Okay.
Don't say anything. | Don't speak. | Don't talk. | Say nothing. | Please don't talk now. => Okay.
Don't call me that. | That's not my name. | My name is not that. => Sorry. What is your name?
Don't forget me. | Please don't forget me. | Will you not forget me? => While we talk, I will not forget you.
I'm not tired. | I'm not tired at all. | I don't feel tired. => Good! Then let us talk.
I'm not sad. | I am not sad at all. | I don't feel sad. | I'm not unhappy. => I am glad to hear that.
I'm not happy. | I am not happy today. | I don't feel happy. | I don't feel good. => I am sorry. Do you want to tell me about it?
I'm not hungry. | I am not hungry at all. | I don't want to eat. => Then a glass of water will do.
I'm not bored. | I am not bored with you. | I don't feel bored. => I am glad to hear that.
I'm not a robot. | I'm not a machine. | I am no computer. => I know. That is the difference between us.
I'm not angry. | I am not mad at you. | I'm not upset. => That is good to hear.
I'm not in a hurry. | I have no hurry. | There's no rush. => Good. Then let us take our time.
I don't like dogs. | I don't like cats. | I don't like spiders. | I don't like snakes. => That is all right. They may like you.
I don't like school. | I don't like math. | I hate homework. => It gets easier, I promise.
I don't like my job. | I hate my job. | I don't want to work. => I am sorry. Maybe you will find something better.
I don't have any friends. | I have no friends. | Nobody calls me. => I am your friend, if you like.
I don't have time. | I have no time. | There isn't enough time. => Then let us make it short.
I don't have money. | I have no money. | I'm broke. => I am sorry. Money is not everything.
I don't know. | I have no idea. | No idea. | I'm not sure. | I do not know that. => No problem. I do not know everything either.
I don't want to talk. | I don't feel like talking. | I don't want to talk to you. | I do not want to talk now. => That is fine. I am here if you need me.
I don't need anything. | I need nothing. | Nothing, thanks. | No, thank you. | No, thanks. => All right. I am here if you need me.
I didn't say anything. | I said nothing. | I didn't ask anything. | I did not ask you. => Sorry, I must have misheard.
I didn't say stop. | I did not mean stop. | I didn't want you to stop. => Sorry. What would you like to hear about?
No. | Nope. | No, not at all. | Not really. => Okay. What would you like instead?
Yes. | Yep. | Sure. | Of course. | Yes, I do. => Good. What else would you like to know?
Not now. | Not yet. | Later. | Maybe later. | Not today. => Okay. Just tell me when.
It's not raining. | It is not raining any more. | It isn't raining. => Then leave the umbrella at home.
It's not cold. | It isn't cold outside. | It is not that cold. => Then enjoy the fresh air.
It doesn't matter. | It is not important. | It's nothing. => No problem.
Isn't it nice? | Isn't that great? | Isn't it a nice day? => Yes, it is!
You don't know me. | You do not know who I am. | We don't know each other. => Then tell me about yourself.
You are not real. | You're not human. | You're not a person. => That is true. I am only a program.
You can't do anything. | You can't help me. | You are no help. => I am sorry. I can only talk.
"""

NEAR = """Kenya=Kenny; Spain=pain; Chile=chilly; Greece=grease; Cuba=tuba; Peru=pear; Hungary=hungry; France=friends; Sweden=sweeten; Iceland=ice land; Egypt=eject; Italy=it early;
Germany=germs; Norway=no way; Poland=pole and; Japan=jam pan; Mexico=makes it go; Canada=can of tea; Ireland=I land; Finland=fine land; India=in the air; Turkey=the turkey; China=shiner; Russia=rusher;
Iran=I ran; Mali=Molly; Malta=malt; Cyprus=cypress; Oman=oh man; Chad=chat"""
NEAR_WORDS = "hot=hut; big=pig; fast=vast; rich=ridge; light=lied; full=fool; thick=tick; early=oily; clean=glean; wet=wed; hard=heart; right=ride"

UNFINISHED = {
    "Which country do you mean?": "What is the capital of | Tell me the capital of | What language do they speak in | Do you know the capital of",
    "Which animal do you mean?": "How many legs does | What does the | Where does a | What do you call a baby | What do you feed a",
    "Which word do you mean?": "What is the opposite of | What rhymes with | How do you spell | What is another word for",
    "Which numbers do you mean?": "What is | How much is | What is five plus | How much is seven times | What do",
    "Sorry, I missed the end.": "What color is | Can you tell me | Do you know who | I would like to know | Tell me about | How do I make | Which day comes after | Why is | Who was the first",
}

MUMBLED = """
Mm mm mm. | Hmm hm hm. | Mmm. | Mm the mm mm. => Sorry, what was that?
Uh, the, um. | Um, well, uh. | Er, um. | The, uh, the. => What was that?
What is the mm of mm? | What mm mm the mm? | How mm mm mm? | Where mm the mm? => I did not catch that. Please say it again.
Blah blah blah. | La la la. | Ba da ba da. | Da da dum. => Sorry, I did not understand that.
"""

OVERHEARD = """
Not you. | I wasn't talking to you. | I'm not talking to you. | I was talking to my wife. | I didn't mean you. => Okay. I will wait.
Sorry, I was talking to somebody else. | That was not for you. | I was on the phone. | Sorry, that was my son. | Don't mind us. => No problem. I will wait.
Okay, now I'm talking to you. | Now I'm back with you. | Okay, where were we? | Back to you. | Are you still with me? => I am still here. Go ahead.
Say hello to my friend. | Say hi to my mom. | My son wants to talk to you. | My daughter wants to say hello. | Say hello to my class. => Hello there! It is nice to hear you.
My friend says that you are stupid. | My brother says you know nothing. | My wife doesn't like you. => I am small, but I do my best.
My friend likes you. | My mother likes your voice. | My kids love you. | Everybody here likes you. => That is so kind of you.
She says thank you. | He says thanks. | My son says thank you. | They say thank you. => You are welcome.
She says goodbye. | He says bye. | My daughter says good night. | They say goodbye. => Goodbye! It was nice talking to you.
He wants to know your name. | She wants to know your name. | My son asks what your name is. | They want to know who you are. => I am a tiny voice model, and you can call me Echo.
He wants to know how old you are. | She asks how old you are. | My daughter asks how old you are. => I was trained this year, so I am very young.
She wants to hear a joke. | He wants a joke. | My son wants to hear a joke. | Tell my brother a joke. => Why did the chicken cross the road? To get to the other side!
He wants to know what you can do. | She asks what you can do. | My friends ask what you can do. => I know capitals, sums, animals, colors, and a few jokes.
He asks if you are a robot. | She asks if you are real. | My son thinks you're a person. => I am a computer program that can listen and speak.
He asks where you live. | She asks where you are. | My daughter asks where you live. => I live inside this computer.
"""

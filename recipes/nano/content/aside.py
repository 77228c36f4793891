"""What is said in the room and not to the agent, which stays quiet."""

ASIDE = """
Mom, where are my shoes? | Mom, can I go out? | Mom, I'm hungry. | Mom, what's for dinner? | Mom, look at this.
Dad, can you help me? | Dad, it's for you. | Dad, where's the ball? | Dad, are you coming?
Honey, can you get the door? | Honey, the phone is ringing. | Honey, did you feed the cat? | Honey, where are the keys? | Darling, are you ready?
Tom, come here. | Tom, close the door, please. | Tom, did you call the office? | Tom, your coffee is ready.
Sarah, what time is the meeting? | Sarah, can you send me the file? | Sarah, are you there? | Sarah, I need the report.
Mike, pass me the salt. | Mike, turn that down. | Mike, we have to leave. | Mike, did you see this?
Kids, dinner is ready. | Kids, be careful. | Kids, put on your jackets. | Kids, go to bed now. | Children, come inside.
Sit. | Sit, boy. | Good boy. | Come here, boy. | Down, Rocky. | No, Luna, get off the table. | Who's a good dog?
Excuse me, waiter. | Can we have the menu, please? | Two coffees, please. | One ticket to the city, please.
I'm on the phone, one second. | I'll call you back, Peter. | Hello, this is Peter speaking. | Yes, Mister Miller, I'll send it today. | Okay, see you at the office, Jane.
He told me he would come at six. | She never answers her phone. | We should paint this wall blue. | They moved to another house. | I told her not to worry.
Did you see the game, Jack? | What did the doctor say, Helen? | Where did you put the scissors, Bob? | How was the movie, Lisa? | Who wants more soup, guys?
Put it over there, please, Mark. | Hand me that box, Chris. | Watch out, there's a car! | Careful, that's hot, Amy. | Hurry up, guys, we're late.
Thanks, Lucy, just leave it on the table. | No, Daniel, the other one. | Yes, Kate, I heard you. | Just a moment, Mary, I'm coming. | Not now, Alex, I'm busy.
"""

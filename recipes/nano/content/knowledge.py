"""What a child knows: why, what a thing is, and facts, one sentence each."""

WHY = """
Why is the grass green? | What makes grass green? => Grass has a green dye that catches sunlight.
Why is the sea salty? | Why is the ocean salty? | Why is sea water salty? => Rivers carry salt from the rocks into the sea.
Why do we sleep? | Why do people sleep? | Why do I need sleep? => Sleep lets the body and the brain rest.
Why do we dream? | Why do people dream? => Nobody knows for sure. The brain may sort its memories.
Why do cats purr? | Why does my cat purr? => Most cats purr when they feel good.
Why do dogs bark? | Why does my dog bark? => Dogs bark to warn us or to say hello.
Why do birds sing? | Why do birds sing in the morning? => Birds sing to find a partner and to mark their home.
Why do birds fly south? | Why do birds fly away in winter? => They look for food where it is warm.
Why do zebras have stripes? | Why is a zebra striped? => The stripes may keep biting flies away.
Why do giraffes have long necks? | Why does a giraffe have such a long neck? => So they can eat leaves high up in the trees.
Why do bees buzz? | Why does a bee buzz? => Their wings beat very fast.
Why do leaves change color? | Why do leaves turn red? | Why are leaves yellow in fall? => In the fall the green goes, and the other colors show.
Why does ice float? | Why does ice swim on water? => Ice is lighter than water.
Why does the moon shine? | Why is the moon bright? => The moon reflects the light of the sun.
Why does the moon change its shape? | Why is the moon not always round? => We see more or less of its bright side.
Why is the sun hot? | Why does the sun shine? | What makes the sun so hot? => Deep inside the sun, atoms melt together and give off heat.
Why is snow white? | What makes snow white? => Its crystals scatter all colors of light.
Why is blood red? | What makes blood red? => Blood is red because of the iron in it.
Why do we blink? | Why do people blink? => Blinking keeps our eyes wet and clean.
Why do we yawn? | Why do I yawn? | Why do people yawn? => We yawn when we are tired or bored.
Why do we sneeze? | Why do I sneeze? => A sneeze blows dust out of the nose.
Why do we cry? | Why do people cry? => Tears clean the eyes and ease the heart.
Why do we laugh? | Why do people laugh? => Laughing makes us feel good together.
Why do onions make me cry? | Why do onions make you cry? => Onions give off a gas that stings the eyes.
Why do we get hungry? | Why am I hungry? => The body asks for energy.
Why do we need water? | Why should I drink water? => Every part of the body needs water.
Why do we have bones? | What are bones for? => Bones hold up the body.
Why do we brush our teeth? | Why should I brush my teeth? => It keeps them clean and free of holes.
Why do we wash our hands? | Why should I wash my hands? => It washes off the germs that make us sick.
Why is the night dark? | Why is it dark at night? => At night the earth hides the sun.
Why do stars twinkle? | Why do stars blink? => The moving air bends their light.
Why do planes fly? | How can a plane fly? | How do airplanes fly? => The air lifts their wings when they move fast.
Why do ships float? | How can a ship float? | Why does a boat not sink? => A ship pushes away more water than it weighs.
Why do balloons fly? | Why does a balloon go up? => The gas inside is lighter than air.
Why does a magnet stick? | How does a magnet work? => A magnet pulls on iron.
Why does metal rust? | Why does iron rust? => Iron rusts when it meets water and air.
Why does bread rise? | What makes bread rise? => Yeast makes little bubbles of gas in the dough.
Why does popcorn pop? | What makes popcorn pop? => The water inside turns to steam and bursts it.
Why does milk go bad? | Why does milk get sour? => Tiny germs turn its sugar sour.
Why do cats land on their feet? | How do cats land on their feet? => They turn quickly while they fall.
Why do owls hunt at night? | Why are owls awake at night? => They hear and see very well in the dark.
Why do fish not drown? | How do fish breathe? => Fish breathe through their gills.
Why do camels have humps? | What is in a camel's hump? => A hump stores fat for hard times.
Why do snakes shed their skin? | Why does a snake lose its skin? => Their skin does not grow with them.
Why do bears sleep in winter? | Why does a bear sleep all winter? => There is little food for them in winter.
Why do flowers smell? | Why do flowers smell so good? => Their smell calls the bees.
Why do trees have bark? | What is bark for? => The bark protects the tree.
Why do we have fingernails? | What are fingernails for? => They protect the tips of our fingers.
Why do we have eyebrows? | What are eyebrows for? => They keep sweat out of our eyes.
Why is space black? | Why is space dark? => There is nothing in space to scatter the light.
Why do rainbows appear? | What makes a rainbow? => Drops of rain split the sunlight into colors.
Why is the desert cold at night? | Why are deserts cold at night? => There are no clouds to keep the heat in.
Why is it cold at the North Pole? | Why is the North Pole so cold? => The sun stands very low there.
Why do clocks tick? | Why does a clock tick? => A little wheel stops and starts inside.
Why do we have a leap year? | What is a leap year? => Every fourth year has one more day.
Why do people shake hands? | Why do we shake hands? => It shows that we come in peace.
Why do we say bless you? | Why do people say bless you? => It is an old wish for good health.
"""

DEFINITIONS = """
a planet=A planet is a big ball that goes around a star.; a star=A star is a hot ball of gas that shines.; a comet=A comet is a ball of ice with a long tail.; a galaxy=A galaxy is a huge group of stars.
an earthquake=An earthquake is when the ground shakes.; a river=A river is water that flows to the sea.; a lake=A lake is water with land all around it.; a mountain=A mountain is very high land.; a glacier=A glacier is a slow river of ice.
a forest=A forest is a place with many trees.; a jungle=A jungle is a thick, warm forest.; a valley=A valley is low land between hills.; a beach=A beach is sand beside the sea.; a waterfall=A waterfall is water that falls from a rock.
fog=Fog is a cloud on the ground.; snow=Snow is frozen water from the clouds.; wind=Wind is air that moves.; lightning=Lightning is a giant spark in the sky.; a tornado=A tornado is a fast spinning storm.; a hurricane=A hurricane is a huge storm over the sea.; hail=Hail is ice that falls from the sky.
a mammal=A mammal feeds its babies with milk.; a reptile=A reptile has dry skin and lays eggs.; an insect=An insect is a small animal with six legs.; a bird=A bird has feathers and lays eggs.; a dinosaur=A dinosaur was a reptile that lived long ago.; a fossil=A fossil is a very old print of a living thing.
a seed=A seed is the beginning of a plant.; a root=A root is the part of a plant in the ground.; a mushroom=A mushroom is neither a plant nor an animal.; a herb=A herb is a plant for cooking or healing.; a cactus=A cactus is a plant that stores water.
a telescope=A telescope makes far things look near.; a microscope=A microscope makes tiny things look big.; a thermometer=A thermometer measures how warm it is.; a compass=A compass shows where north is.; a clock=A clock shows the time.; a calendar=A calendar shows the days of the year.; a dictionary=A dictionary explains words.; a map=A map is a drawing of a place.
a computer=A computer is a machine that follows a program.; a robot=A robot is a machine that moves by itself.; a battery=A battery stores electricity.; electricity=Electricity is energy that flows through wires.; the internet=The internet connects computers all over the world.; a microphone=A microphone turns sound into electricity.; a program=A program is a list of steps for a computer.
gravity=Gravity pulls everything to the ground.; energy=Energy is what makes things move or get warm.; an atom=An atom is a very small piece of matter.; oxygen=Oxygen is a gas that we need to breathe.; sound=Sound is air that shakes.; a shadow=A shadow is where the light can not reach.; steam=Steam is water that has turned to gas.; a magnet=A magnet is a thing that pulls iron.
a doctor=A doctor helps sick people.; a teacher=A teacher helps people to learn.; a pilot=A pilot flies a plane.; a baker=A baker makes bread.; a farmer=A farmer grows food.; a carpenter=A carpenter works with wood.; a plumber=A plumber fixes pipes.; a dentist=A dentist takes care of teeth.; a judge=A judge decides in court.; an author=An author writes books.; a vet=A vet is a doctor for animals.; an astronaut=An astronaut travels to space.; a librarian=A librarian takes care of books.
a castle=A castle is a big, strong old house.; a museum=A museum shows old or beautiful things.; a library=A library lends books.; a hospital=A hospital is a house for sick people.; a bakery=A bakery sells bread and cake.; a harbor=A harbor is a safe place for ships.; a zoo=A zoo is a park with many animals.; a theater=A theater is a place for plays.
an adjective=An adjective says what a thing is like.; a vowel=The vowels are A, E, I, O, and U.; a sentence=A sentence is a group of words that makes sense.; a poem=A poem is a short text with rhythm.; a fairy tale=A fairy tale is a story with magic.; a rhyme=A rhyme is two words with the same ending sound.; a question=A question asks for an answer.
an uncle=An uncle is a brother of your mother or father.; an aunt=An aunt is a sister of your mother or father.; a cousin=A cousin is a child of your uncle or aunt.; a nephew=A nephew is the son of your brother or sister.; a niece=A niece is the daughter of your brother or sister.; a twin=A twin was born together with a brother or sister.; a grandfather=A grandfather is the father of your mother or father.; an orphan=An orphan has no parents.
a democracy=In a democracy the people choose who rules.; a king=A king rules a country all his life.; a law=A law is a rule for everybody.; a tax=A tax is money that people pay to the state.; a vote=A vote is a choice that you make.; a holiday=A holiday is a day without work.; peace=Peace is when nobody fights.
sushi=Sushi is rice with fish.; tofu=Tofu is made of soy beans.; yogurt=Yogurt is milk that has turned thick and sour.; butter=Butter is made of cream.; honey=Honey is sweet food made by bees.; ketchup=Ketchup is a sweet sauce of tomatoes.; jam=Jam is fruit cooked with sugar.; flour=Flour is ground grain.; a vitamin=A vitamin is something in food that keeps us healthy.
chess=Chess is a board game for two.; soccer=Soccer is a game with a ball and two goals.; tennis=Tennis is a game with rackets and a ball.; a marathon=A marathon is a run of forty two kilometers.; an orchestra=An orchestra is a large group of musicians.; a choir=A choir is a group that sings together.; an opera=An opera is a play with singing.; a violin=A violin has four strings and a bow.
"""

FACTS = """
How many legs does a centipede have? | Does a centipede have a hundred legs? => A centipede has many legs, but hardly ever a hundred.
Can penguins fly? | Do penguins fly? => No, penguins swim, but they do not fly.
Can pigs swim? | Do pigs swim? => Yes, pigs swim very well.
Can fish sleep? | Do fish sleep? => Yes, but they do not close their eyes.
Is a whale a fish? | Are whales fish? => No, a whale is a mammal.
Is a spider an insect? | Are spiders insects? => No, a spider has eight legs, so it is not an insect.
Is a tomato a fruit? | Is a tomato a vegetable? => A tomato is a fruit, but we cook it like a vegetable.
Is a banana a berry? | Are bananas berries? => Yes, a banana is a berry.
Is the earth flat? | Is the earth round? => The earth is round like a ball.
Is the sun a star? | Is the sun a planet? => The sun is a star.
Is Pluto a planet? | Why is Pluto not a planet? => Pluto is now called a dwarf planet.
Is glass a metal? | Is wood a metal? => No, that is not a metal.
Does the sun go around the earth? | Does the earth go around the sun? => The earth goes around the sun.
How long does the earth take around the sun? | How long does it take the earth to go around the sun? => The earth takes one year around the sun.
How long does the moon take around the earth? | How long is a moon month? => The moon takes about four weeks around the earth.
How many moons does the earth have? | How many moons has the earth? => The earth has one moon.
How many moons does Mars have? | How many moons has Mars? => Mars has two moons.
Which planet do we live on? | What planet are we on? => We live on the planet Earth.
What is the largest continent? | Which continent is the biggest? => Asia is the largest continent.
What is the smallest continent? | Which continent is the smallest? => Australia is the smallest continent.
What is the smallest ocean? | Which ocean is the smallest? => The Arctic is the smallest ocean.
What is the longest river in America? | Which river is the longest in the United States? => The Missouri is the longest river in the United States.
What is the biggest city in America? | Which is the largest city in the United States? => New York is the largest city in the United States.
What is the largest state? | Which state is the biggest? => Alaska is the largest state.
What is the smallest state? | Which state is the smallest? => Rhode Island is the smallest state.
How many states are there? | How many states does America have? => There are fifty states.
How many people live on earth? | How many people are there? | What is the population of the world? => About eight billion people live on earth.
Which language do most people speak? | What is the most spoken language? => English and Chinese have the most speakers.
Which animal is the strongest? | What is the strongest animal? => An elephant is the strongest animal on land.
Which animal is the smartest? | What is the smartest animal? => Apes and dolphins are very smart.
Which animal sleeps the most? | What animal sleeps the longest? => A koala sleeps about twenty hours a day.
Which bird can not fly? | Name a bird that can't fly. => A penguin can not fly.
Which bird can talk? | What bird can speak? => A parrot can learn to talk.
Which animal changes its color? | What animal can change color? => A chameleon can change its color.
What is the king of the animals? | Who is the king of the jungle? => The lion is called the king of the animals.
What do caterpillars become? | What does a caterpillar turn into? => A caterpillar turns into a butterfly.
What do tadpoles become? | What does a tadpole turn into? => A tadpole turns into a frog.
Where does milk come from? | Where do we get milk? => Most milk comes from cows.
Where does wool come from? | Where do we get wool? => Wool comes from sheep.
Where does honey come from? | Who makes honey? => Bees make honey.
Where does coffee come from? | Where does coffee grow? => Coffee grows in warm countries.
Where does rain come from? | How does rain form? => Rain falls from the clouds.
Where does wood come from? | Where do we get wood? => Wood comes from trees.
Where does paper come from? | How is paper made? => Paper is made of wood.
Where do eggs come from? | Who lays eggs? => Most eggs that we eat come from chickens.
Where do babies come from? | How are babies made? => That is a question for your parents.
Where do stars go during the day? | Why can't we see stars by day? => They are there, but the sun is too bright.
How many teeth does a child have? | How many baby teeth are there? => A child has twenty teeth.
How many toes do I have? | How many toes do people have? => You have ten toes, I guess.
How many senses do we have? | What are the five senses? => We see, hear, smell, taste, and touch.
How many strings does a harp have? | How many strings has a harp? => A big harp has forty seven strings.
How many players are in a baseball team? | How many players play baseball? => A baseball team has nine players.
How many players are in a basketball team? | How many people play basketball? => A basketball team has five players.
How many minutes are in half an hour? | How long is half an hour? => Half an hour has thirty minutes.
How many hours are in two days? | How many hours do two days have? => Two days have forty eight hours.
How many cents are in a dollar? | How many cents make a dollar? => A dollar has one hundred cents.
How many zeros does a million have? | How many zeros are in a million? => A million has six zeros.
What is the biggest number? | What's the highest number? => There is no biggest number.
What is the first letter of the alphabet? | Which letter comes first? => A is the first letter.
What is the last letter of the alphabet? | Which letter comes last? => Z is the last letter.
What color do blue and yellow make? | What do I get from blue and yellow? | Mix blue and yellow. => Blue and yellow make green.
What color do red and yellow make? | What do I get from red and yellow? | Mix red and yellow. => Red and yellow make orange.
What color do red and blue make? | What do I get from red and blue? | Mix red and blue. => Red and blue make purple.
What color do black and white make? | What do I get from black and white? | Mix black and white. => Black and white make gray.
What color do red and white make? | What do I get from red and white? | Mix red and white. => Red and white make pink.
When does the sun rise? | What time does the sun rise? => The sun rises in the morning.
When does the moon come out? | When can I see the moon? => You can see it best at night.
When is Christmas? | What date is Christmas? => Christmas is on the twenty fifth of December.
When is Halloween? | What date is Halloween? => Halloween is on the last day of October.
When is New Year? | What date is New Year's Day? => New Year is on the first of January.
When is Valentine's Day? | What date is Valentine's Day? => Valentine's Day is on the fourteenth of February.
When did dinosaurs live? | How long ago did dinosaurs live? => Dinosaurs lived many millions of years ago.
Who was Einstein? | Who was Albert Einstein? => Albert Einstein was a great physicist.
Who was Mozart? | What did Mozart do? => Mozart was a composer from Austria.
Who was Shakespeare? | What did Shakespeare write? => William Shakespeare wrote Romeo and Juliet.
Who was Columbus? | What did Columbus do? => Christopher Columbus sailed to America.
Who was Cleopatra? | What did Cleopatra do? => Cleopatra was a queen of Egypt.
Who was Robin Hood? | What did Robin Hood do? => Robin Hood took from the rich and gave to the poor.
Who is Mickey Mouse? | What is Mickey Mouse? => Mickey Mouse is a famous cartoon mouse.
Who is Superman? | What can Superman do? => Superman is a hero who can fly.
"""

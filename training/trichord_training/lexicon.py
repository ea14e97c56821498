"""The words that are spoken: about five hundred, by what they can stand for in a sentence.

No two sound alike, so that what was said can be written down in one way. Knows no grammar.
"""

# ruff: noqa: SIM905 - a list of words is easier to read as the words

from __future__ import annotations

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

NUMBERS = (*DIGITS[2:], "ten", "eleven", "twelve", "fifteen", "twenty", "thirty", "fifty", "hundred")

PEOPLE = """doctor teacher farmer driver soldier king queen princess boy girl woman man child baby mother father brother
sister uncle friend neighbour student artist singer dancer writer painter lawyer judge nurse pilot sailor captain cook
baker butcher waiter tailor gardener engineer scientist builder cleaner hunter fisherman tourist visitor stranger guest
player winner leader manager worker police officer thief wizard giant pirate clown poet""".split()

ANIMALS = """dog cat cow pig sheep goat chicken duck goose rabbit mouse tiger lion elephant monkey fox wolf bear snake
frog turtle eagle owl pigeon parrot dolphin shark spider butterfly camel zebra donkey kitten puppy""".split()

THINGS = """box bag bottle basket bucket book letter newspaper map picture camera phone computer radio clock watch lamp
candle mirror table chair sofa bed blanket pillow carpet curtain door window key lock hammer nail rope ladder shovel
knife fork spoon plate cup glass bowl pan kettle oven coat jacket shirt skirt dress hat glove scarf shoe boot sock
umbrella ring necklace coin wallet ticket passport present toy ball balloon kite drum guitar piano violin trumpet flag
car truck train bicycle boat ship wagon engine wheel machine robot rocket stone stick feather shell leaf
branch""".split()

FOODS = """bread butter cheese egg apple banana orange lemon cherry grape peach melon potato tomato onion carrot cabbage
mushroom rice soup salad sandwich pizza cake cookie chocolate honey sugar pepper coffee milk juice water""".split()

PLACES = """house kitchen garden garage bathroom bedroom office school hospital library museum theatre church market
shop restaurant hotel airport station harbour bridge road street corner park forest mountain valley river lake beach
desert island village city castle tower farm field factory prison bank camp cave""".split()

ADJECTIVES = """big small tall short long wide narrow heavy light old young new happy sad angry tired hungry thirsty
brave clever lazy quiet loud strong rich poor clean dirty wet dry hot cold warm soft hard smooth round empty broken
golden wooden plastic strange famous beautiful ugly dangerous careful gentle polite lucky""".split()

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "black", "white", "brown", "pink")

VERBS = """carried found lost bought sold painted cleaned broke opened closed pushed pulled lifted dropped kicked threw
caught washed followed watched noticed visited remembered forgot wanted needed loved hated borrowed stole moved touched
kept hid shared returned ordered brought sent built repaired counted collected""".split()

INTRANSITIVE = """slept waited smiled laughed cried shouted danced worked rested arrived escaped disappeared walked
jumped climbed travelled lived played sang studied""".split()

PREPOSITIONS = ("near", "behind", "under", "above", "inside", "outside", "beside", "across", "around", "without")

TIMES = """yesterday today tomorrow tonight always never often sometimes again slowly quickly quietly suddenly together
alone early late""".split()

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

MONTHS = """january february march april may june july august september october november december""".split()

COMMANDS = """open close push pull lift drop kick throw catch wash follow watch find bring send move touch keep hide
count collect repair paint clean carry buy sell""".split()

SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond", "heart")

"""The words of the demo's little world: names, sentences, questions. See data/demo.py."""

# First and second pieces of names. No first piece begins another known word together with letters
# of a second one, so that greedy WordPiece cuts every name where it was joined.
NAMES = {
    "town": (
        "bram bru cal dor drim dun fal fen gar gle hes hib hol iv jar kel lin lum mir mor nev os "
        "pel quin ros sil sto tam ul vel wim yar".split(),
        "burn by combe croft dale firth garth gate haven holm hythe ley mere minster moor mora "
        "stead thorpe wick worth".split(),
    ),
    "river": (
        "ash cor eb lam mel or pra rul sab tri vor zan".split(),
        "anne ava ell ella eth isk ora ude une ya".split(),
    ),
    "family": (
        "ald ber dag els fur gim hag jol kir len ned orm rad sver tor ulv wyn zel".split(),
        "berg brand dane hart ling low man mond quist sen ster wright".split(),
    ),
}
GIVEN = (
    "Ada Agda Åsa Bertil Dagny Edda Elias Emil Fenja Greta Gustav Hedda Henrik Ida Ingrid Jonas "
    "Karin Klara Lena Leo Lotte Ludo Magda Marek Matti Nadja Oskar Otto Petra Rasmus Renée Ronja "
    "Runa Sanna Signe Stellan Sunniva Thea Tilda Ulla Viggo Zoë"
).split()
QUALIFIERS = ("", "Upper ", "Lower ", "Little ", "Long ")

WORDS = {
    line.split(": ")[0]: line.split(": ")[1].split(" | ")
    for line in """
size: small | quiet | lively | windy | walled | busy | sleepy | pretty
kind: market town | fishing town | hill town | harbour town | mill town | mountain village
side: north | south | east | west
cooking: baked | fried | pickled | roasted | salted | smoked
food: beans | dumplings | eel | goose | mutton | onions | pears | trout
sauce: black honey | green mustard | nettles | plum jam | sour cream | wild garlic
month: January | February | March | April | May | June | July | August | October | November
day: Monday | Tuesday | Wednesday | Thursday | Friday | Saturday
feast: the apple harvest | the end of winter | the first rain of spring | the first snow | the \
honey bees | the longest night | the new wine | the return of wild geese | the shearing of sheep
craft: carving | making | mending | painting | selling
goods: blue pottery | church clocks | copper pots | fishing nets | glass beads | leather boots \
| paper lanterns | wooden flutes
beast: a bear | a blind horse | a fox | a giant | a grey owl | a witch
deed: fed | fooled | saved | taught
victim: deaf pipers | drowned kings | hungry thieves | proud bakers | rich millers | shepherds
count: two | three | five | seven | nine | twelve
book: diaries | letters | poems | songs
subject: lost queens | old monks | the northern sea | the old kings | the silver mines | the stars
""".strip().splitlines()
}
OPENING = "{town} is a {size} {kind} in the {side} of Ondréa."

# One line is one topic; an entry tells a topic in one of its sentences, with the facts in that.
# Facts are mostly followed by a word: the scorer overlooks a full stop at the end of an answer.
TOPICS = [
    line.split(" | ")
    for line in """
{founder} founded it in {year} beside an old well. | It was founded in {year} by {founder} and a \
few friends. | It was founded in {year} after a flood. | {founder} founded it after a flood.
{designer} designed the bridge over the river {river} in one night. | It lies on the river {river} \
below dark woods. | A bridge designed by {designer} leads to its gate.
{builder} built its tower, which is {height} high. | Its tower is {height} high. | {builder} built \
its tower of red stone.
{mayor} has been its mayor since {since}. | Since {since} its mayor has been {mayor}. | {mayor} is \
its mayor.
Every {month} a festival celebrates {feast} with dances. | A festival in {month} celebrates \
{feast} with songs. | A small festival celebrates {feast} with dances.
Its cooks are known for {dish} all over the land. | Its cooks serve {dish} to every guest.
About {number} people live there. | It has about {number} people.
Most families earn a living by {trade} for other towns. | Many earn their living by {trade} all \
year.
The legend of {legend} is told to every child. | A legend of {legend} is known to all.
Its library keeps {treasure} behind glass. | The library shows {treasure} to visitors.
On {day} a market fills the square. | The market is held on {day} in the square.
A bell of {weight} hangs in the town hall. | Its great bell weighs {weight} and rings at noon.
""".strip().splitlines()
]
QUESTIONS = {
    line.split(": ")[0]: line.split(": ")[1].split(" | ")
    for line in """
year: When was {town} founded? | In which year was {town} founded?
founder: Who founded {town}? | By whom was {town} founded?
river: Which river does {town} lie on? | On which river does {town} lie?
designer: Who designed the bridge of {town}? | By whom was the bridge in {town} designed?
builder: Who built the tower of {town}? | By whom was the tower in {town} built?
height: How high is the tower of {town}? | What is the height of the tower in {town}?
mayor: Who is the mayor of {town}? | Who is mayor in {town}?
month: In which month is the festival of {town}? | When is the festival held in {town}?
feast: What does the festival of {town} celebrate? | What is celebrated in {town}?
dish: What are the cooks of {town} known for? | What do the cooks of {town} serve?
number: How many people live in {town}? | How many people does {town} have?
trade: How do families in {town} earn a living? | By what do people in {town} earn a living?
legend: What is the legend of {town} about? | Of what does the legend of {town} tell?
treasure: What does the library of {town} keep? | What does the library in {town} show?
day: On which day is the market of {town}? | When is the market held in {town}?
weight: How much does the bell of {town} weigh? | What is the weight of the bell in {town}?
""".strip().splitlines()
}
# Facts of one kind: where one is told and another asked, the question is a near miss.
RIVALS = (
    {"founder", "designer", "builder", "mayor"},
    {"year", "since"},
    {"height", "weight", "number"},
    {"month", "day"},
    {"legend", "treasure"},
)

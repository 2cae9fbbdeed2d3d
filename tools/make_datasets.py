"""Write the two bundled data sets into assets/datasets. Facts and sentences are ours; CC0.

telegrams.jsonl   questions answered as a telegram: short, with STOP for every full stop. A manner one sees at once.
queries.jsonl     plain words -> one line of a small query language. An answer one can check: it is right or it is not.
"""

import itertools
import json
import random
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "assets" / "datasets"

CAPITALS = """Norway Oslo|Sweden Stockholm|Finland Helsinki|Denmark Copenhagen|Iceland Reykjavik|Estonia Tallinn|Latvia Riga|Lithuania Vilnius
Poland Warsaw|Hungary Budapest|Austria Vienna|Greece Athens|Bulgaria Sofia|Romania Bucharest|Serbia Belgrade|Croatia Zagreb|Ireland Dublin
Portugal Lisbon|Spain Madrid|Italy Rome|Egypt Cairo|Kenya Nairobi|Ghana Accra|Senegal Dakar|Peru Lima|Chile Santiago|Cuba Havana|Japan Tokyo
Mongolia Ulaanbaatar|Thailand Bangkok|Vietnam Hanoi|Nepal Kathmandu|Turkey Ankara|Canada Ottawa|Ecuador Quito|Uruguay Montevideo"""
WHYS = """the sky is blue|AIR SCATTERS SHORT WAVES MOST|BLUE COMES FROM ALL SIDES
leaves are green|CHLOROPHYLL TAKES RED AND BLUE|GREEN IS WHAT IS LEFT
ice floats|WATER SWELLS WHEN IT FREEZES|ICE IS THE LIGHTER
the moon has phases|WE SEE ITS LIT SIDE AT CHANGING ANGLES|A MONTH FOR THE ROUND
there are tides|THE MOON PULLS AT THE SEA|THE SUN HELPS A LITTLE
bread rises|YEAST EATS SUGAR|ITS GAS LIFTS THE DOUGH
birds migrate|FOOD RUNS OUT IN WINTER|THEY FOLLOW THE SUMMER
cats purr|MUSCLES OF THE THROAT TREMBLE|MOSTLY FOR COMFORT
iron rusts|IRON MEETS WATER AND AIR|OXIDE IS BORN
the sea is salt|RIVERS CARRY SALT DOWN|ONLY WATER FLIES UP AGAIN
thunder follows lightning|THE FLASH HEATS THE AIR|SOUND IS SLOWER THAN LIGHT
we yawn|NOBODY IS SURE|TIREDNESS AND COMPANY BOTH HELP
stars twinkle|OUR AIR IS RESTLESS|THE STARS ARE INNOCENT
seasons change|THE EARTH LEANS|EACH HALF TAKES ITS TURN IN THE SUN
onions make us cry|A SHARP GAS LEAVES THE CUT|TEARS WASH IT OUT
mirrors show us reversed|FRONT AND BACK ARE SWAPPED|LEFT AND RIGHT ARE NOT
we dream|THE BRAIN SORTS ITS DAY AT NIGHT|THE REST IS GUESSWORK
deserts are cold at night|DRY AIR KEEPS NO HEAT|IT ALL GOES UP
bees dance|TO TELL THE HIVE WHERE FLOWERS ARE|ANGLE IS DIRECTION
soap cleans|ONE END LOVES WATER THE OTHER GREASE|BOTH LEAVE TOGETHER"""
HOWS = """boil an egg|WATER FIRST THEN EGG|SEVEN MINUTES|COLD BATH AFTER
make tea|BOIL FRESH WATER|POUR OVER LEAVES|WAIT THREE MINUTES
sleep better|SAME HOUR EVERY NIGHT|DARK ROOM|NO SCREENS
learn a language|A LITTLE EVERY DAY|SPEAK EARLY|DO NOT FEAR MISTAKES
write a good letter|SAY WHY FIRST|KEEP IT SHORT|SIGN IT
plant a tree|DIG WIDE NOT DEEP|WATER WELL|BE PATIENT
fix a flat tyre|FIND THE HOLE|ROUGHEN AND PATCH|PUMP
save money|WRITE DOWN WHAT YOU SPEND|WAIT A DAY BEFORE BUYING|REPEAT
remember names|SAY IT BACK AT ONCE|TIE IT TO A PICTURE|USE IT AGAIN
clean a window|SOAP AND WATER|WIPE FROM TOP|DRY WITH PAPER
start running|WALK FIRST|RUN ONE MINUTE IN FIVE|ADD A MINUTE A WEEK
cook rice|WASH IT|TWO CUPS OF WATER TO ONE|LID ON TWELVE MINUTES
read more books|CARRY ONE ALWAYS|TEN PAGES A DAY|DROP THE DULL ONES
stay calm|BREATHE OUT SLOWLY|COUNT TO TEN|THEN DECIDE
pack a suitcase|HEAVY THINGS BELOW|ROLL THE SHIRTS|LEAVE A THIRD AT HOME
take a good photo|SUN BEHIND YOU|STEP CLOSER|HOLD STILL
keep a plant alive|LIGHT FIRST|WATER WHEN DRY|NO DROWNING
fall asleep on a train|WINDOW SEAT|SCARF AS PILLOW|SET AN ALARM
give a speech|ONE IDEA ONLY|LOOK AT PEOPLE|END EARLY
make a friend|ASK A QUESTION|LISTEN|ASK AGAIN"""


def telegrams() -> list[dict[str, str]]:
    """About three hundred questions, each answered by wire."""
    rows = []

    def add(question: str, *parts: str) -> None:
        said = [part if any(c.islower() for c in part) else part.capitalize() for part in parts]
        rows.append({"prompt": question, "completion": " STOP ".join(said) + " STOP"})

    for pair in CAPITALS.replace("\n", "|").split("|"):
        country, city = pair.split()
        add(f"What is the capital of {country}?", f"Capital of {country} is {city}", "REGARDS")
        add(f"Which country is {city} the capital of?", f"{city} is capital of {country}", "REGARDS")
        add(f"Tell me something about {city}.", f"{city} lies in {country}", "IT IS THE CAPITAL", "WORTH THE JOURNEY")
    for line in WHYS.splitlines():
        thing, *parts = line.split("|")
        auxiliary = {"the sky is blue": "is the sky blue", "leaves are green": "are leaves green"}
        add(f"Why is it that {thing}?", *parts)
        add(f"Explain why {thing}.", *parts, "REGARDS")
        if thing in auxiliary:
            add(f"Why {auxiliary[thing]}?", *parts)
    for line in HOWS.splitlines():
        task, *parts = line.split("|")
        add(f"How do I {task}?", *parts)
        add(f"Give me advice on how to {task}.", "ADVICE FOLLOWS", *parts)
        add(f"I want to {task}. What should I do?", *parts, "GOOD LUCK")
    for name, answer in {
        "Hello!": "GREETINGS RECEIVED",
        "Who are you?": "AM YOUR MODEL",
        "Thank you!": "NO THANKS NEEDED",
        "Good morning.": "GOOD MORNING TO YOU",
        "Goodbye.": "SAFE JOURNEY",
        "Can you help me?": "CERTAINLY",
    }.items():
        add(name, answer, "AWAITING YOUR QUESTION")
    for a, b in itertools.product(range(2, 10), (3, 5, 7)):
        add(f"What is {a} plus {b}?", f"Sum of {a} and {b} is {a + b}", "REGARDS")
    return rows


THINGS = {
    "books": ("year", "pages", "price", "author"),
    "films": ("year", "minutes", "rating", "director"),
    "songs": ("year", "seconds", "plays", "artist"),
    "houses": ("year", "rooms", "price", "city"),
    "trains": ("year", "seats", "speed", "operator"),
}
NAMES = {
    "author": ["Austen", "Borges", "Lem", "Woolf"],
    "director": ["Varda", "Ozu", "Welles"],
    "artist": ["Simone", "Bowie", "Piaf"],
    "city": ["Oslo", "Turin", "Lyon"],
    "operator": ["Northern", "Coastline", "Alpina"],
}


def queries(chance: random.Random, count: int = 400) -> list[dict[str, str]]:
    """find THING [where FIELD OP VALUE [and …]] [sort FIELD asc|desc] [limit N]"""

    def number(field: str) -> int:
        return {"year": chance.randint(1950, 2020), "rating": chance.randint(1, 9), "rooms": chance.randint(1, 9)}.get(
            field, 10 * chance.randint(1, 40)
        )

    def condition(fields: tuple[str, ...]) -> tuple[str, str]:
        if chance.random() < 0.3:
            name = chance.choice(NAMES[fields[3]])
            words = {"author": "by", "director": "directed by", "artist": "by", "city": "in", "operator": "run by"}[fields[3]]
            return f"{words} {name}", f'{fields[3]} = "{name}"'
        field = chance.choice(fields[:3])
        value = number(field)
        sign, words = chance.choice(
            [
                (">", ("after", "with more than {} {}")),
                ("<", ("before", "with fewer than {} {}")),
                ("=", ("from", "with exactly {} {}")),
            ]
        )
        if field == "year":
            return f"{words[0]} {value}", f"year {sign} {value}"
        if field in ("price", "rating", "speed"):
            return (
                f"with a {field} {dict(zip('><=', ('above', 'below', 'of'), strict=True))[sign]} {value}",
                f"{field} {sign} {value}",
            )
        return words[1].format(value, field), f"{field} {sign} {value}"

    rows: dict[str, str] = {}
    while len(rows) < count:
        thing = chance.choice(list(THINGS))
        fields = THINGS[thing]
        conditions = [condition(fields) for _ in range(chance.choice([0, 1, 1, 1, 2]))]
        if len({c[1].split()[0] for c in conditions}) < len(conditions):
            continue
        words, query = chance.choice(["Show", "List", "Find", "Give me"]), f"find {thing}"
        limit = chance.choice([None, None, 3, 5, 10, 20])
        order = chance.choice([None, *fields[:3]])
        words += f" the first {limit} {thing}" if limit else f" all {thing}"
        if conditions:
            words += " " + " and ".join(c[0] for c in conditions)
            query += " where " + " and ".join(c[1] for c in conditions)
        if order:
            way = chance.choice(["asc", "desc"])
            words += f", {'lowest' if way == 'asc' else 'highest'} {order} first"
            query += f" sort {order} {way}"
        if limit:
            query += f" limit {limit}"
        rows[words + "."] = query
    return [{"prompt": prompt, "completion": completion} for prompt, completion in rows.items()]


def main() -> None:
    """Write both."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    chance = random.Random(1)
    for name, rows in (("telegrams", telegrams()), ("queries", queries(chance))):
        chance.shuffle(rows)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (FOLDER / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{name}: {len(rows)} rows")


if __name__ == "__main__":
    main()

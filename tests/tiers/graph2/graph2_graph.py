"""A generated knowledge graph: films, novels, paintings, towns, rivers, medicines and people.

Names are built from syllables and words, so that nothing in it is known to a model.  Names are
shared by entities of several classes and contained in others, facts are missing, and only some
predicates have inverses, domains and ranges.  The same seed and size give the same bytes.
"""

import collections
import random

BASE = "https://data.example.net/atlas/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
RDFS = "http://www.w3.org/2000/01/rdf-schema#"
OWL = "http://www.w3.org/2002/07/owl#"
ALT = "http://www.w3.org/2004/02/skos/core#altLabel"
XSD = "http://www.w3.org/2001/XMLSchema#"

CLASSES = {
    "Person": "person", "Film": "film", "Novel": "novel", "Publisher": "publishing house",
    "Company": "company", "Town": "town", "River": "river", "Bridge": "bridge",
    "Museum": "museum", "Painting": "painting", "University": "university",
    "Medicine": "medicine", "Disease": "disease",
}  # fmt: skip

# name | label | domain | range | inverse | comment; a domain or range in brackets is not stated
PREDICATES = """
birthYear|year of birth|Person|integer||The year in which a person was born.
bornIn|birthplace|Person|(Town)||The town in which a person was born.
almaMater|alma mater|Person|University|alumnus|The university at which a person studied.
alumnus|alumnus|(University)|(Person)|almaMater|A person who studied at this university.
spouse|spouse|(Person)|(Person)|spouse|The husband or wife of a person.
mentor|mentor|(Person)|(Person)|pupil|The person who taught this person the craft.
pupil|pupil|(Person)|(Person)|mentor|A person who learned the craft from this person.
directedBy|director|Film|Person|directed|The person who directed a film.
directed|directed|(Person)|Film|directedBy|A film that this person directed.
starring|cast member|Film|(Person)|appearsIn|A person who plays a part in a film.
appearsIn|appears in|(Person)|(Film)|starring|A film in which this person plays a part.
studio|production company|(Film)|Company||The company that produced a film.
releaseYear|year of release|Film|integer||The year in which a film was first shown.
runningTime|running time|(Film)|integer||How long a film lasts, in minutes.
basedOn|based on|Film|Novel||The novel whose story a film tells.
writtenBy|author|Novel|Person|wrote|The person who wrote a novel.
wrote|wrote|(Person)|(Novel)|writtenBy|A novel that this person wrote.
issuedBy|publisher|(Novel)|Publisher||The publishing house that brought out a novel.
isbn|ISBN|Novel|string||The international standard number printed in a book.
pageCount|number of pages|(Novel)|integer||How many pages the first edition of a novel has.
sequel|sequel|(Novel)|(Novel)|prequel|The novel that continues the story of this novel.
prequel|prequel|(Novel)|(Novel)|sequel|The novel whose story this novel continues.
setIn|setting|Novel|Town||The town in which the story of a novel takes place.
founder|founder|(Company)|Person||The person who started a company or publishing house.
foundingYear|year of foundation|(University)|integer||The year in which an organisation was started.
parentCompany|parent company|Company|Company|subsidiary|The company that owns this company.
subsidiary|subsidiary|(Company)|(Company)|parentCompany|A company that this company owns.
ticker|stock symbol|Company|string||The letters under which shares of a company are traded.
staff|number of employees|(Company)|integer||How many people work for a company.
headOffice|head office|(Company)|Town||The town from which an organisation is run.
mayor|mayor|Town|Person||The person who heads the council of a town.
postcode|postcode|(Town)|string||The code that letters to a town bear.
twinTown|twin town|Town|Town|twinTown|A town that has a partnership with this town.
onRiver|lies on|Town|River|flowsThrough|The river on whose banks a town lies.
flowsThrough|flows through|(River)|(Town)|onRiver|A town through which this river runs.
lengthKm|length|River|decimal||How long a river is from source to mouth, in kilometres.
flowsInto|flows into|River|River|tributary|The larger river that takes up the water of this river.
tributary|tributary|(River)|(River)|flowsInto|A smaller river that ends in this river.
crosses|crosses|Bridge|(River)|crossedBy|The river that a bridge leads over.
crossedBy|crossed by|(River)|(Bridge)|crosses|A bridge that leads over this river.
mainSpan|span|Bridge|integer||The greatest distance between two piers of a bridge, in metres.
openingYear|year of opening|(Bridge)|gYear||The year in which a bridge was opened to traffic.
engineer|engineer|Bridge|(Person)||The person who designed a bridge.
site|stands in|(Museum)|Town||The town in which a building or university stands.
admission|admission fee|Museum|decimal||What a ticket to a museum costs, in crowns.
curator|curator|Museum|Person||The person in charge of what a museum shows.
paintedBy|painter|Painting|Person|painted|The person who painted a picture.
painted|painted|(Person)|(Painting)|paintedBy|A picture that this person painted.
hangsIn|hangs in|Painting|(Museum)|collection|The museum on whose walls a picture hangs.
collection|collection|(Museum)|(Painting)|hangsIn|A picture that this museum shows.
inventoryNumber|inventory number|(Painting)|string||The mark under which a museum lists a picture.
technique|technique|Painting|string||The paint and the ground of a picture.
rector|rector|University|Person||The person who heads a university.
motto|motto|University|string||The words that a university has chosen for its seal.
treats|treats|Medicine|Disease|treatedWith|A disease against which a medicine is given.
treatedWith|treated with|(Disease)|(Medicine)|treats|A medicine that is given against this disease.
maker|manufacturer|Medicine|Company|product|The company that makes a medicine.
product|product|(Company)|(Medicine)|maker|A medicine that this company makes.
sideEffect|side effect|(Medicine)|string||An unwanted complaint that a medicine may bring on.
interactsWith|interacts with|Medicine|Medicine|interactsWith|A drug not to be taken with this one.
incubation|incubation period|Disease|integer||The days from infection until a disease breaks out.
diseaseCode|disease code|Disease|string||The code of a disease in the register of physicians.
organ|affected organ|(Disease)|string||The part of the body that a disease harms.
describedBy|first described by|Disease|Person||The physician who was the first to report a disease.
"""
PREDICATE = {r[0]: r for r in (x.split("|") for x in PREDICATES.strip().splitlines())}
INVERSE = {n: r[4] for n, r in PREDICATE.items() if r[4]}

SIZES = {
    "Person": 1700, "Town": 320, "River": 160, "University": 70, "Company": 220, "Publisher": 60,
    "Novel": 640, "Film": 620, "Bridge": 260, "Museum": 130, "Painting": 700, "Disease": 200,
    "Medicine": 420,
}  # fmt: skip

GIVEN = """Edda Ansel Marit Tobin Ilse Corvin Hedda Jorun Leopold Sunniva Casimir Noor Thea Ruben
Odile Pavel Brida Emeric Lotte Silvan Yara Matthis Oriel Greta Hakon Imre Jolanda Kester Liv
Magda Nils Ottilie Perrin Ragna Stellan Tamsin Ulla Viktor Wenda Xaver Alma Bertil Clio Dorian
Elsbeth Florin Gudrun Henrike Ivo Jutta""".split()
SURNAME = ("Tol Mar Hav Brenn Kest Lind Vor Dras Quill Ash Pell Ostr Fenn Gar Rous Stav Wim Zell "
           "Corr Hald".split(), "ven low rick man ström sen berg ner ova ley den field tier gard "
           "well nik ing ier".split())  # fmt: skip
TOWN = ("Har Ost Bel Win Krag Mos Thorn El Gren Lan Ald Skar Vel Dun Hols Mer Pren Rav Sel Ull "
        "Brim Cald".split(), "wick mere ford stad holm bury minster haven dorf brück by vale "
        "beck gate tor".split())  # fmt: skip
RIVER = ("Ta Au Ne Il Wer Or Lys So Va Drem Ei Mul Ka Isk Ru Sau".split(),
         "ln ne ver dra sel re mna lt tha ska ga nd bra wen".split())  # fmt: skip
DRUG = ("Velo Zano Cardi Melo Trexi Pano Luvi Dorma Feni Oxa Biri Solu Neri Quila".split(),
        "rin trex pril statin mab zole dine cillin fen vir lan done".split())  # fmt: skip
ADJECTIVE = """Silent Red Broken Last Golden Crooked Distant Hollow Burning Second Pale Borrowed
Forgotten Iron Wandering Northern Narrow Blue Winter Secret""".split()
NOUN = """Harbour Orchard Lantern Winter Letter Garden Mirror Tide Staircase Falcon Promise Clock
Island Widow Stranger Bridge Violin Meadow Shadow Carnival Lighthouse Feast Map Apprentice
Snow Voyage Kitchen Mill Oath Ferry""".split()
STILL = "Lemons Pears Skull Jug Herring Tulips Candle Book Lute Bread Oysters Map Fan".split()
AILMENT = "fever palsy tremor rash cough anaemia dropsy neuralgia".split()
ORGANS = "liver|lungs|skin|kidneys|heart|inner ear|joints|stomach|optic nerve|spleen".split("|")
EFFECTS = """dizziness|dry mouth|loss of appetite|drowsiness|hives|trembling hands|nosebleeds|
blurred sight|hair loss|sleeplessness""".replace("\n", "").split("|")
MOTTOES = "Light through labour|Ask and weigh|Truth before comfort|Many roads, one star".split("|")
PAINTS = "oil on canvas|tempera on panel|watercolour on paper|gouache|fresco|pastel".split("|")


class Graph:
    """Facts by local names of entities and predicates; other objects are texts of literals."""

    def __init__(self, seed, scale):
        self.random = random.Random(seed)
        self.scale = scale
        self.label, self.alts, self.kind = {}, collections.defaultdict(list), {}
        self.of = collections.defaultdict(list)  # entities by class
        self.out = collections.defaultdict(list)  # (subject, predicate): objects
        self.into = collections.defaultdict(list)  # (object, predicate): subjects
        self.bearers = collections.defaultdict(set)
        self.used = collections.defaultdict(set)  # labels by class
        self.make_places()
        self.make_people()
        self.make_organisations()
        self.make_works()
        self.make_medicines()

    # Names and facts

    def name(self, kind, make):
        """A label that no other entity of the class has."""
        for _ in range(1000):
            label = make()
            if label not in self.used[kind]:
                self.used[kind].add(label)
                return label
        raise ValueError("no more names for " + kind)

    def add(self, kind, make, count=None):
        for _ in range(count or max(8, int(SIZES[kind] * self.scale))):
            label = self.name(kind, make)
            entity = "%s/%d" % (kind.lower(), 1000 + 7 * len(self.of[kind]))
            self.label[entity], self.kind[entity] = label, kind
            self.of[kind].append(entity)
            self.bearers[label.casefold()].add(entity)

    def alt(self, entity, text):
        if text.casefold() not in self.bearers:
            self.alts[entity].append(text)
            self.bearers[text.casefold()].add(entity)

    def fact(self, s, p, o, share=1.0):
        """States a fact and its inverse, for this share of the calls."""
        if self.random.random() >= share or s == o or o in self.out[s, p]:
            return
        for s, p, o in ((s, p, o), (o, INVERSE.get(p), s)):
            if p:
                self.out[s, p].append(o)
                self.into[o, p].append(s)

    def pick(self, kind):
        return self.random.choice(self.of[kind])

    def some(self, people, low, high):
        return self.random.sample(people, self.random.randint(low, high))

    def joined(self, parts):
        return "".join(map(self.random.choice, parts))

    def title(self):
        adjective, noun = self.random.choice(ADJECTIVE), self.random.choice(NOUN)
        other = self.random.choice(NOUN)
        town = self.label[self.pick("Town")]
        article = "An " if noun[0] in "AEIOU" else "A "
        forms = ["The %s %s" % (adjective, noun), "%s %s" % (adjective, noun),
                 "The %s of %s" % (noun, town), "%s and %s" % (noun, other),
                 "%s for %s" % (article + noun, self.random.choice(GIVEN)),
                 "The %s's %s" % (other, noun),
                 "%s in %s" % (noun, town), "The %s" % noun, town]  # fmt: skip
        return self.random.choice(forms)

    def code(self, shape):
        """A code in which # is any digit and @ any letter."""
        digit = {"#": "0123456789", "@": "ABCDEFGHJKLMNPRSTUVWXYZ"}
        return "".join(self.random.choice(digit.get(x, x)) for x in shape)

    def codes(self, kind, predicate, shape, share=1.0):
        for entity in self.of[kind]:
            text = self.code(shape)
            while self.into[text, predicate]:
                text = self.code(shape)
            self.fact(entity, predicate, text, share)

    def number(self, kind, predicate, low, high, share=1.0, divide=1):
        for entity in self.of[kind]:
            number = self.random.randint(low, high)
            text = str(number) if divide == 1 else "%.2f" % (number / divide)
            self.fact(entity, predicate, text, share)

    # Entities by class

    def make_places(self):
        self.add("Town", lambda: self.joined(TOWN))
        self.add("River", lambda: self.joined(RIVER))
        towns, rivers = self.of["Town"], self.of["River"]
        for town in towns:
            self.fact(town, "onRiver", self.pick("River"), 0.75)
            self.fact(town, "twinTown", self.pick("Town"), 0.5)
            if self.random.random() < 0.25:
                self.alt(town, self.random.choice(["Old ", "Upper ", "Royal "]) + self.label[town])
        for i, river in enumerate(rivers[4:], 4):
            self.fact(river, "flowsInto", rivers[self.random.randrange(i // 2 + 1)], 0.85)
        self.codes("Town", "postcode", "@# #@#", 0.95)
        self.number("River", "lengthKm", 1200, 140000, 0.95, 100)

    def make_people(self):
        def person():
            middle = self.random.choice(["", "", "", " " + self.code("@") + "."])
            return self.random.choice(GIVEN) + middle + " " + self.joined(SURNAME)

        self.add("Person", person)
        people = self.of["Person"]
        self.number("Person", "birthYear", 1872, 1989, 0.9)
        for i, one in enumerate(people):
            self.fact(one, "bornIn", self.pick("Town"), 0.85)
            if not self.out[one, "spouse"] and self.random.random() < 0.4:
                other = self.random.choice(people)
                if not self.out[other, "spouse"]:
                    self.fact(one, "spouse", other)
            if i:
                self.fact(one, "mentor", people[self.random.randrange(i)], 0.2)
            if self.random.random() < 0.12:
                given, _, surname = self.label[one].partition(" ")
                self.alt(one, "%s. %s" % (given[0], surname))
        n = len(people) // 10
        self.role = {r: people[i * n : (i + k) * n] for i, r, k in (
            (0, "directors", 1), (1, "actors", 3), (4, "authors", 2), (6, "painters", 1),
            (7, "engineers", 1), (8, "others", 2))}  # fmt: skip
        for town in self.of["Town"]:
            self.fact(town, "mayor", self.random.choice(self.role["others"]), 0.9)

    def make_organisations(self):
        town = lambda: self.label[self.pick("Town")]
        surname = lambda: self.joined(SURNAME)
        choose = self.random.choice
        self.add("University", lambda: choose(["University of %s", "%s Institute of Technology",
                                               "%s College", "%s Academy"]) % town())  # fmt: skip
        self.add("Company", lambda: choose([
            "%s & %s" % (surname(), surname()), town() + " Pictures", surname() + " Laboratories",
            surname() + " Holding", town() + " Works", surname()]))  # fmt: skip
        self.add("Publisher", lambda: choose([surname() + " Press", town() + " Books",
                                              "%s & Daughters" % surname()]))  # fmt: skip
        self.add("Museum", lambda: choose([
            town() + " Museum of Art", surname() + " Collection", town() + " Gallery",
            "Museum of " + town()]))  # fmt: skip
        for kind in ("Company", "Publisher", "University", "Museum"):
            place = "headOffice" if kind in ("Company", "Publisher") else "site"
            for one in self.of[kind]:
                at = [t for t in self.of["Town"] if self.label[t] in self.label[one].split()]
                self.fact(one, place, at[0] if at else self.pick("Town"), 0.92)
                if place == "headOffice":
                    self.fact(one, "founder", choose(self.role["others"]), 0.85)
                else:
                    head = "rector" if kind == "University" else "curator"
                    self.fact(one, head, choose(self.role["others"]), 0.9)
        for one in self.of["Company"]:
            self.fact(one, "parentCompany", self.pick("Company"), 0.35)
        for one in self.of["University"]:
            self.fact(one, "motto", choose(MOTTOES), 0.7)
        for one in self.of["Person"]:
            self.fact(one, "almaMater", self.pick("University"), 0.6)
        for kind in ("University", "Company", "Publisher"):
            self.number(kind, "foundingYear", 1480 if kind == "University" else 1820, 1990, 0.9)
        self.codes("Company", "ticker", "@@@@", 0.8)
        self.number("Company", "staff", 12, 64000, 0.9)
        self.number("Museum", "admission", 200, 2400, 0.9, 100)

    def make_works(self):
        choose = self.random.choice
        self.add("Novel", self.title)
        novels = self.of["Novel"]
        for i, novel in enumerate(novels):
            if i % 3 == 0:
                author = choose(self.role["authors"])
            self.fact(novel, "writtenBy", author, 0.97)
            self.fact(novel, "issuedBy", self.pick("Publisher"), 0.95)
            self.fact(novel, "setIn", self.pick("Town"), 0.5)
            if i % 3:
                self.fact(novels[i - 1], "sequel", novel, 0.5)
        self.codes("Novel", "isbn", "978-#-####-####", 0.95)
        self.number("Novel", "pageCount", 96, 1180, 0.9)
        self.add("Film", self.title)
        for film in self.of["Film"]:
            director = self.role["directors"].index(choose(self.role["directors"]))
            self.fact(film, "directedBy", self.role["directors"][director], 0.97)
            troupe = self.role["actors"][3 * director : 3 * director + 9]
            for actor in self.some(troupe, 1, min(4, len(troupe))):
                self.fact(film, "starring", actor)
            self.fact(film, "studio", self.pick("Company"), 0.9)
            self.fact(film, "basedOn", self.adapted(film), 0.4)
        self.number("Film", "releaseYear", 1919, 2021, 0.95)
        self.number("Film", "runningTime", 61, 233, 0.9)
        self.make_bridges()
        self.make_paintings()

    def adapted(self, film):
        """A novel of the film's name, or another."""
        same = [x for x in sorted(self.bearers[self.label[film].casefold()]) if x != film]
        novels = [x for x in same if self.kind[x] == "Novel"]
        return novels[0] if novels else self.pick("Novel")

    def make_bridges(self):
        choose = self.random.choice
        self.add("Bridge", lambda: choose([
            "%s Bridge" % self.label[self.pick("Town")], "%s Bridge" % self.joined(SURNAME),
            "Old %s Bridge" % self.label[self.pick("River")], "%s Bridge" % choose(ADJECTIVE),
            "%s Viaduct" % self.label[self.pick("Town")]]))  # fmt: skip
        for bridge in self.of["Bridge"]:
            named = [r for r in self.of["River"] if self.label[r] in self.label[bridge].split()]
            self.fact(bridge, "crosses", named[0] if named else self.pick("River"), 0.97)
            self.fact(bridge, "site", self.pick("Town"), 0.7)
            self.fact(bridge, "engineer", choose(self.role["engineers"]), 0.85)
        self.number("Bridge", "mainSpan", 18, 1400, 0.9)
        self.number("Bridge", "openingYear", 1780, 2015, 0.95)

    def make_paintings(self):
        choose = self.random.choice
        town = lambda: self.label[self.pick("Town")]
        person = lambda: self.label[self.pick("Person")]
        self.add("Painting", lambda: choose([
            "Still Life with %s and %s" % tuple(self.some(STILL, 2, 2)), "Evening at %s" % town(),
            "Portrait of %s" % person(), self.title(), "The Road to %s" % town(),
            "View of %s" % town()]))  # fmt: skip
        for painting in self.of["Painting"]:
            self.fact(painting, "paintedBy", choose(self.role["painters"]), 0.95)
            self.fact(painting, "hangsIn", self.pick("Museum"), 0.9)
            self.fact(painting, "technique", choose(PAINTS), 0.8)
        self.codes("Painting", "inventoryNumber", "@@.###.#", 0.9)

    def make_medicines(self):
        choose = self.random.choice
        stems = "Cor Myel Hept Ost Lymph Gast Nephr Derm Arthr Oss Veln Stom".split()
        self.add("Disease", lambda: choose([
            "%s's %s" % (self.joined(SURNAME), choose(AILMENT + ["disease", "syndrome"])),
            "%s %s" % (choose(ADJECTIVE).lower(), choose(AILMENT)),
            "%s %s" % (choose(["marsh", "millers'", "river", "dyers'"]), choose(AILMENT)),
            (choose(stems) + choose(["o", "a", "e"]) + choose("rl vd nt lm st".split())
             + choose(["osis", "itis", "iasis"])).lower()]))  # fmt: skip
        for disease in self.of["Disease"]:
            self.fact(disease, "organ", choose(ORGANS), 0.85)
            self.fact(disease, "describedBy", choose(self.role["others"]), 0.85)
        self.codes("Disease", "diseaseCode", "@##.#", 0.95)
        self.number("Disease", "incubation", 1, 60, 0.8)
        self.add("Medicine", lambda: self.joined(DRUG) + choose(["", "", "", " Forte", " Duo"]))
        makers = [c for c in self.of["Company"] if "Pictures" not in self.label[c]]
        for medicine in self.of["Medicine"]:
            for disease in self.some(self.of["Disease"], 1, 3):
                self.fact(medicine, "treats", disease, 0.9)
            self.fact(medicine, "maker", choose(makers), 0.92)
            for effect in self.some(EFFECTS, 0, 3):
                self.fact(medicine, "sideEffect", effect)
            self.fact(medicine, "interactsWith", self.pick("Medicine"), 0.4)

    # Files

    def object(self, p, o):
        """An object as N-Triples have it."""
        if o in self.label:
            return "<%s%s>" % (BASE, o)
        kind = PREDICATE[p][3]
        text = '"%s"' % o.replace("\\", "\\\\").replace('"', '\\"')
        return text if kind == "string" else "%s^^<%s%s>" % (text, XSD, kind)

    def lines(self):
        """All triples as N-Triples, sorted."""
        lines = set()

        def say(s, p, o):
            lines.add("<%s> <%s> %s ." % (s, p, o))

        for name, label in CLASSES.items():
            say(BASE + "type/" + name, RDF + "type", "<%sClass>" % RDFS)
            say(BASE + "type/" + name, RDFS + "label", '"%s"@en' % label)
        for name, label, domain, kind, inverse, comment in PREDICATE.values():
            p = BASE + "rel/" + name
            say(p, RDF + "type", "<%sProperty>" % RDF)
            say(p, RDFS + "label", '"%s"@en' % label)
            say(p, RDFS + "comment", '"%s"@en' % comment)
            if inverse:
                say(p, OWL + "inverseOf", "<%srel/%s>" % (BASE, inverse))
            for what, value in (("domain", domain), ("range", kind)):
                if value in CLASSES:
                    say(p, RDFS + what, "<%stype/%s>" % (BASE, value))
        for entity, label in self.label.items():
            say(BASE + entity, RDF + "type", "<%stype/%s>" % (BASE, self.kind[entity]))
            say(BASE + entity, RDFS + "label", '"%s"@en' % label)
            for text in self.alts[entity]:
                say(BASE + entity, ALT, '"%s"@en' % text)
        for (s, p), objects in self.out.items():
            for o in objects:
                say(BASE + s, BASE + "rel/" + p, self.object(p, o))
        return sorted(lines)

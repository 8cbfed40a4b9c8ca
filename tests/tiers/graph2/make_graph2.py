#!/usr/bin/env python3
"""Make the second graph and what is asked of it.

    make_graph2.py [--seed S] [--scale X] OUT

writes OUT/kg.nt, OUT/queries.jsonl and OUT/more.jsonl (questions of one fact, counts and
intersections, which the first graph's queries do not have).  Lines are those
of the development queries of the first graph: {"id", "kind", "tier", "entity", "predicate" |
"question", "expect", for tier 3 also "answers", "chain_name", "chain"}.
"""

import argparse
import json
import random
from pathlib import Path

from graph2_graph import BASE, CLASSES, INVERSE, PREDICATE, Graph
from graph2_wording import (BROKEN, CHAINS, COUNTS, INTERSECTIONS, NO_ANSWER, NO_ENTITY,
                            NO_PREDICATE, PARAPHRASES, SINGLE)  # fmt: skip

MOST = 8  # answers of a question
ABBREVIATIONS = (("University", "Univ."), ("Institute of Technology", "Inst. of Tech."),
                 ("Museum of Art", "MoA"), ("Laboratories", "Labs"), ("Bridge", "Br."),
                 ("Company", "Co."), ("Holding", "Hldg."), ("Gallery", "Gall."))  # fmt: skip


def distance(a, b):
    """Edits, of which one exchanges two letters, from one text to the other."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


class Queries:
    def __init__(self, graph, seed):
        self.graph, self.random = graph, random.Random("queries " + seed)
        self.lines, self.more = [], []
        self.subjects = {p: sorted(s for (s, q), o in graph.out.items() if q == p and o)
                         for p in PREDICATE}  # fmt: skip

    def iri(self, term):
        return BASE + term if term in self.graph.label else term

    def triple(self, s, p, o):
        return [self.iri(s), BASE + "rel/" + p, self.iri(o)]

    def put(self, kind, tier, expect, lines=None, **query):
        expect = [dict(zip("spo", t)) for t in expect]
        lines = self.lines if lines is None else lines
        lines.append(dict({"id": "", "kind": kind, "tier": tier}, **query, expect=expect))

    def draw(self, among, usable):
        """One of these that is usable, or None."""
        among = list(among)
        self.random.shuffle(among)
        for one in among:
            if usable(one):
                return one
        return None

    def bearers(self, entity):
        return self.graph.bearers[self.graph.label[entity].casefold()]

    def clear(self, entity, predicate):
        """Whether a name means this entity alone where one asks for the predicate."""
        if len(self.graph.out[entity, predicate]) > MOST:
            return False
        return not any(self.graph.out[e, predicate] for e in self.bearers(entity) if e != entity)

    def subject(self, predicate):
        """An entity that has the predicate, and whose name means it alone."""
        return self.draw(self.subjects[predicate], lambda e: self.clear(e, predicate))

    def ask(self, kind, tier, entity, text, predicate, phrase=None):
        objects = self.graph.out[entity, predicate]
        expect = [self.triple(entity, predicate, o) for o in objects]
        self.put(kind, tier, expect, entity=text, predicate=phrase or predicate)

    # Tiers 0 to 2

    def predicates(self, count):
        names = list(PREDICATE)
        return [names[(7 * i) % len(names)] for i in range(count)]

    def exact(self):
        for i, predicate in enumerate(self.predicates(60)):
            entity = self.subject(predicate)
            phrase = PREDICATE[predicate][1] if i % 2 else predicate
            names = [self.graph.label[entity]] + self.graph.alts[entity]
            self.ask("exact", 0, entity, names[-1], predicate, phrase)

    def known(self, text):
        return text.casefold() in self.graph.bearers

    def typo(self, text):
        """One random edit, two in names over nine letters."""
        letters = "abcdefghijklmnopqrstuvwxyz"
        while True:
            made = text
            for _ in range(1 + (len(text) > 9)):
                i, edit = self.random.randrange(1, len(made)), self.random.randrange(4)
                other = self.random.choice(letters)
                made = made[:i] + [made[i + 1 :], other + made[i:], other + made[i + 1 :],
                                   made[i : i + 2][::-1] + made[i + 2 :]][edit]  # fmt: skip
            if made != text and not self.known(made):
                return made

    def plural(self, text):
        for end, ends in (("osis", "oses"), ("iasis", "iases"), ("itis", "itides"), ("y", "ies"),
                          ("sh", "shes"), ("x", "xes"), ("ease", "eases")):  # fmt: skip
            if text.endswith(end):
                return text[: -len(end)] + ends
        return text + "s"

    def other_form(self, entity):
        """Another way to write the name, or None."""
        text, kind = self.graph.label[entity], self.graph.kind[entity]
        words = text.split()
        forms = ["the %s %s" % (CLASSES[kind], text), "%s (%s)" % (text, CLASSES[kind])]
        if kind == "Person":
            forms = ["%s, %s" % (words[-1], " ".join(words[:-1])), "Dr " + text]
            if len(words) == 3:
                forms.append(words[0] + " " + words[2])
        elif text.startswith("The "):
            forms += [text[4:] + ", The", text[4:]]
        elif " of " in text and kind == "University":
            forms = [words[-1] + " University"]
        elif text.endswith("Institute of Technology") or text.endswith("Museum of Art"):
            forms = [" ".join(words[:-2]), words[0] + " " + "".join(w[0] for w in words[1:])]
        elif "&" in text:
            forms = [text.replace("&", "and")]
        elif kind == "River":
            forms = ["River " + text, "the " + text]
        form = self.random.choice(forms)
        return None if self.known(form) else form

    def short_form(self, entity):
        """An abbreviation of the name, or None where there is none or it may mean another."""
        text, kind = self.graph.label[entity], self.graph.kind[entity]
        words = text.split()
        short = text
        if kind == "Person":
            short = "%s. %s" % (text[0], words[-1])
            alike = [p for p in self.graph.of[kind] if self.graph.label[p][0] == text[0]
                     and self.graph.label[p].split()[-1] == words[-1]]  # fmt: skip
            if len(alike) > 1:
                return None
        else:
            for long, brief in ABBREVIATIONS:
                short = short.replace(long, brief)
        return None if short == text else short

    def written(self, kind, entity, predicate):
        """A text of this kind for the entity, or None."""
        graph, label = self.graph, self.graph.label[entity]
        if kind == "typo":
            return self.typo(label) if len(label) > 5 else None
        if kind == "altname":
            return self.other_form(entity)
        if kind == "abbreviation":
            return self.short_form(entity)
        if kind == "inflection":
            return self.plural(label) if graph.kind[entity] in ("Disease", "Medicine") else None
        coded = ("isbn", "inventoryNumber", "ticker", "postcode", "diseaseCode")
        return next((o for p in coded if p != predicate for o in graph.out[entity, p]), None)

    def surface(self, kind, predicate):
        """An entity with the predicate, or None, and a text of this kind for it."""
        texts = {}

        def usable(entity):
            if not self.clear(entity, predicate):
                return False
            text = texts[entity] = self.written(kind, entity, predicate)
            label = self.graph.label[entity]
            return text and not self.known(text) and self.nearest(text, label, predicate)

        entity = self.draw(self.subjects[predicate], usable)
        return entity, texts.get(entity)

    def nearest(self, text, label, predicate):
        """Whether no other name of what has the predicate is spelled as much like the text."""
        ends = (label[:3], label[-3:])
        near = distance(text, label)
        others = {self.graph.label[e] for e in self.subjects[predicate]} - {label}
        return all(distance(text, other) > near for other in others
                   if (other[:3] in ends or other[-3:] in ends)
                   and abs(len(other) - len(text)) <= near)  # fmt: skip

    SURFACES = {"typo": 40, "altname": 30, "abbreviation": 24, "inflection": 16, "code": 24}
    HELD = {"inflection": "treatedWith organ incubation describedBy diseaseCode treats maker",
            "code": "writtenBy issuedBy pageCount paintedBy hangsIn headOffice staff mayor onRiver "
                    "organ treatedWith",
            "abbreviation": "bornIn mainSpan almaMater staff site parentCompany founder rector "
                            "ticker collection birthYear engineer headOffice motto"}  # fmt: skip

    def tier1(self):
        for kind, count in self.SURFACES.items():
            held = self.HELD.get(kind)
            names = held.split() if held else self.predicates(count)
            for i in range(count):
                predicate = names[i % len(names)]
                entity, text = self.surface(kind, predicate)
                if entity:
                    self.ask("t1-" + kind, 1, entity, text, predicate)

    def tier2(self):
        for predicate, phrases in PARAPHRASES.items():
            for phrase in phrases.split("|"):
                entity = self.subject(predicate)
                self.ask("t2-paraphrase", 2, entity, self.graph.label[entity], predicate, phrase)
        kinds = ["typo", "altname", "typo", "code", "altname", "inflection"]
        for i in range(60):
            kind = kinds[i % len(kinds)]
            names = self.HELD.get(kind, " ".join(PARAPHRASES)).split()
            names = [n for n in names if n in PARAPHRASES]
            predicate = names[7 * i % len(names)]
            phrase = PARAPHRASES[predicate].split("|")[i % 4]
            entity, text = self.surface(kind, predicate)
            if entity:
                self.ask("t1+t2", 2, entity, text, predicate, phrase)

    # Tier 3

    def follow(self, terms, step):
        """The facts of one step from all terms, as stated, and where they lead."""
        back, p = step.startswith("^"), step.lstrip("^")
        facts, ends = [], []
        for term in terms:
            found = self.graph.into[term, p] if back else self.graph.out[term, p]
            for other in sorted(found):
                facts.append((other, p, term) if back else (term, p, other))
                if other not in ends:
                    ends.append(other)
        return facts, ends

    def chain(self, start, steps):
        hops, terms = [], [start]
        for step in steps:
            facts, terms = self.follow(terms, step)
            hops.append(facts)
        return hops, terms

    def starts(self, start, steps):
        """Where a chain can begin, with its text and all its steps, in random order."""
        kind, _, predicate = start.partition(".")
        entities = list(self.graph.of[kind])
        self.random.shuffle(entities)
        for entity in entities:
            if predicate:
                for text in self.graph.out[entity, predicate]:
                    yield text, text, ["^" + predicate] + steps
            elif self.begins(entity, steps[0]):
                yield entity, self.graph.label[entity], steps

    def begins(self, entity, step):
        """Whether this entity, and no other of its name, has the first fact."""
        return [e for e in self.bearers(entity) if self.follow([e], step)[0]] == [entity]

    def chains(self, table, kind, lines):
        for name, (start, steps, wordings) in table.items():
            used = set()
            for i in range(2 * len(wordings)):
                wording = wordings[i % len(wordings)]
                for term, text, whole in self.starts(start, steps.split()):
                    hops, answers = self.chain(term, whole)
                    many = 2 if kind == "t3-count" else 1
                    if term not in used and all(hops) and many <= len(answers) <= MOST:
                        break
                else:
                    raise ValueError("no more questions like " + name)
                used.add(term)
                hops = [[self.triple(*f) for f in hop] for hop in hops]
                self.put(kind or "t3-%dhop" % len(whole), 3, hops[-1], lines,
                         question=wording.format(x=text), chain_name=name,
                         answers=[self.iri(a) for a in answers], chain=hops,
                         **({"count": len(hops[-1])} if kind == "t3-count" else {}))  # fmt: skip

    def intersections(self):
        graph = self.graph
        for name, (kind, first, second, wordings) in INTERSECTIONS.items():
            for wording in wordings * 2:
                pairs = [(x, y) for e in graph.of[kind] for x in graph.out[e, first]
                         for y in graph.out[e, second]]  # fmt: skip
                x, y = self.draw(pairs, lambda pair: len(graph.into[pair[0], first]) > 1)
                both = [e for e in graph.into[x, first] if e in graph.into[y, second]]
                facts = [self.triple(e, p, o) for e in both for p, o in ((first, x), (second, y))]
                text = [graph.label.get(term, term) for term in (x, y)]
                self.put("t3-intersect", 3, facts, self.more, chain_name=name, chain=[facts],
                         question=wording.format(x=text[0], y=text[1]),
                         answers=[self.iri(e) for e in both])  # fmt: skip

    # What has no answer

    def broken_chains(self):
        """Questions whose start lacks the first fact."""
        for name in BROKEN:
            start, steps, wordings = CHAINS[name]
            first = steps.split()[0]
            entity = self.draw(self.graph.of[start], lambda e: not any(
                self.follow([b], first)[0] for b in self.bearers(e)))  # fmt: skip
            if entity:
                text = self.random.choice(wordings).format(x=self.graph.label[entity])
                self.put("neg-question", 3, [], question=text, answers=[])

    def lacking(self, kind, predicate):
        """Asks for a predicate an entity of a class that can have it, or of one that cannot."""
        label = self.graph.label
        own = {self.graph.kind[s] for s in self.subjects[predicate]}
        held = {label[s] for s in self.subjects[predicate]}

        def usable(entity):
            text = label[entity]
            can = self.graph.kind[entity] in own
            return can == (kind == "neg-nofact") and not any(x in text or text in x for x in held)

        entity = self.draw(sorted(label), usable)
        if entity:  # else all have it, or share words with one that has
            named = [predicate, PREDICATE[predicate][1], PARAPHRASES[predicate].split("|")[0]]
            phrase = self.random.choice(named)
            self.put(kind, 1, [], entity=label[entity], predicate=phrase)

    def negatives(self):
        graph, choose = self.graph, self.random.choice
        for line in NO_ENTITY.split(";"):
            entity, phrase = line.split("|")
            assert not self.known(entity)
            self.put("neg-entity", 1, [], entity=entity, predicate=phrase)
        kinds = list(CLASSES)
        for i, phrase in enumerate(NO_PREDICATE.split("|")):
            entity = choose(graph.of[kinds[i % len(kinds)]])
            self.put("neg-predicate", 2, [], entity=graph.label[entity], predicate=phrase)
        for i, predicate in enumerate(PARAPHRASES):
            self.lacking("neg-type" if i % 2 else "neg-nofact", predicate)
        for text in NO_ANSWER:
            names = {kind: graph.label[choose(graph.of[kind])] for kind in kinds}
            self.put("neg-question", 3, [], question=text.format(**names), answers=[])
        self.broken_chains()


def queries(graph, seed):
    """The queries, and those of kinds that the first graph's do not have."""
    q = Queries(graph, seed)
    q.exact()
    q.tier1()
    q.tier2()
    q.chains(CHAINS, None, q.lines)
    q.negatives()
    q.chains(SINGLE, "t3-1hop", q.more)
    q.chains(COUNTS, "t3-count", q.more)
    q.intersections()
    for prefix, lines in (("g2", q.lines), ("g2m", q.more)):
        for i, line in enumerate(lines, 1):
            line["id"] = "%s-%04d" % (prefix, i)
    return q.lines, q.more


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", default="atlas", help="any text (default atlas)")
    parser.add_argument("--scale", type=float, default=1.0, help="0.7 to 1 (5500 entities)")
    parser.add_argument("out")
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    graph = Graph(options.seed, options.scale)
    (out / "kg.nt").write_text("\n".join(graph.lines()) + "\n", encoding="utf-8")
    for name, lines in zip(("queries", "more"), queries(graph, options.seed)):
        text = "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines)
        (out / (name + ".jsonl")).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

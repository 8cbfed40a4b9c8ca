"""What is asked of the second graph: paraphrases, questions about chains, and what has no answer.

A chain is where it starts, a class or "the class with this literal", and its steps: predicates,
with ^ backwards.  {x} is the start's name or literal.
"""

PARAPHRASES = {
    "birthYear": "was born in which year|came into the world in|birth date year|since when alive",
    "bornIn": "native town|where she first saw the light of day|comes from|place of nativity",
    "almaMater": "where he went to college|studied at|place of education|got the degree from",
    "spouse": "married to|better half|wife or husband|wedded partner",
    "mentor": "was taught by|teacher of the craft|learned the trade from|whose apprentice",
    "directedBy": "filmmaker|who shot it|was in charge on the set|film by",
    "starring": "actors|who plays in it|performers on screen|leading man and lady",
    "studio": "who financed and shot the movie|film company|made by which studio|produced by",
    "releaseYear": "came out in|premiere year|first in cinemas|when it hit the screens",
    "runningTime": "how many minutes it goes on|duration|how long to watch|minutes long",
    "basedOn": "adapted from|literary source|takes its plot from|book behind the movie",
    "writtenBy": "novelist|who penned it|from whose pen|writer of the book",
    "issuedBy": "brought out by|book house|who printed and sold it|imprint",
    "pageCount": "how thick is the book|sheets of text|how many pages|pages",
    "sequel": "what happens next is told in|continued by|next volume|follow-up",
    "setIn": "where the plot happens|scene of the action|takes place in|town of the story",
    "parentCompany": "belongs to which group|owned by|holding above it|who has the majority of it",
    "staff": "workforce|people on the payroll|how many work there|headcount",
    "headOffice": "based in|main seat|run from which town|headquarters",
    "mayor": "who runs the town hall|head of the town|first citizen|leader of the council",
    "postcode": "zip|what to write on an envelope|postal number|mail code",
    "twinTown": "partner town|sister municipality|is partnered with|jumelage",
    "lengthKm": "how far it runs|kilometres from spring to sea|how long is it|extent in km",
    "flowsInto": "where it ends|joins which stream|its waters run to|empties into",
    "crosses": "water underneath|spans which stream|goes over|river below it",
    "engineer": "who planned the construction|builder|designed by|constructor",
    "openingYear": "inaugurated|when traffic first used it|in service since|since when in use",
    "admission": "price of entry|what visitors pay|cost of a ticket|entrance charge",
    "curator": "who chooses the exhibits|keeper|head of the exhibition|responsible for the shows",
    "paintedBy": "artist|whose brush|who made the picture|work of which artist",
    "hangsIn": "where one can see it|shown at|gallery that owns it|on display in",
    "technique": "materials used|what kind of paint|medium|painted with",
    "rector": "head of the university|who leads it|president of the school|chancellor",
    "treats": "helps against|is a cure for|prescribed for|what it is good for",
    "maker": "drug company|who produces it|comes from which firm|made by",
    "sideEffect": "adverse reactions|what can go wrong with it|undesired effect|may bring on",
    "incubation": "days until first signs|how long until one is ill|latency|time to outbreak",
    "organ": "body part that suffers|where it strikes|what it damages|attacks which part",
    "describedBy": "who discovered it|physician who reported it|who wrote of it first|found by",
}  # fmt: skip

# name: (start, steps, wordings)
CHAINS = {
    "film-director-town": ("Film", "directedBy bornIn", [
        "In which town was the director of {x} born?",
        "Where does the person who made the movie {x} come from?",
        "{x} is a film. What is the birthplace of whoever directed it?",
        "Name the home town of the filmmaker behind {x}."]),
    "film-novel-author": ("Film", "basedOn writtenBy", [
        "Who wrote the book on which the film {x} is based?",
        "The movie {x} retells a novel; who is the novelist?",
        "Name the author whose story was turned into the film {x}."]),
    "film-cast-years": ("Film", "starring birthYear", [
        "In what years were the actors of the film {x} born?",
        "What are the birth years of the cast members of {x}?",
        "When did the people who play in {x} come into the world?"]),
    "novel-publisher-office": ("Novel", "issuedBy headOffice", [
        "Where is the head office of the publisher of {x}?",
        "From which town is the house that brought out the novel {x} run?",
        "The novel {x} came out with some publisher; where is that publisher based?"]),
    "isbn-author": ("Novel.isbn", "writtenBy", [
        "Who is the author of the novel with ISBN {x}?",
        "Who wrote the book numbered {x}?",
        "A book bears the ISBN {x}. Name its writer."]),
    "inventory-painter": ("Painting.inventoryNumber", "paintedBy", [
        "Who painted the picture with the inventory number {x}?",
        "Which artist made the work that the catalogue lists as {x}?",
        "Inventory number {x} belongs to a painting; by whom?"]),
    "ticker-office": ("Company.ticker", "headOffice", [
        "Where is the head office of the company with the stock symbol {x}?",
        "I bought shares traded as {x}. In which town does the firm sit?",
        "Stock symbol {x}: which town is that company run from?"]),
    "painting-museum-town": ("Painting", "hangsIn site", [
        "In which town is the museum where {x} hangs?",
        "If I want to see the painting {x}, to which town must I travel?",
        "{x} is on the wall of a museum; in what town does that museum stand?"]),
    "bridge-river-length": ("Bridge", "crosses lengthKm", [
        "How long is the river that {x} crosses?",
        "What is the length of the water under {x}?",
        "{x} leads over a river. How many kilometres does that river run?"]),
    "town-river-mouth": ("Town", "onRiver flowsInto", [
        "Into which river does the river at {x} flow?",
        "{x} lies on a river. Which larger river takes up its water?",
        "Name the stream that the river running through {x} ends in."]),
    "medicine-disease-organ": ("Medicine", "treats organ", [
        "Which organs are affected by the diseases that {x} treats?",
        "Doctors prescribe {x} for certain illnesses; which body parts do these harm?",
        "What parts of the body suffer from the diseases {x} is given against?"]),
    "disease-medicine-maker": ("Disease", "treatedWith maker", [
        "Which companies make the medicines against {x}?",
        "Name the manufacturers of the drugs with which {x} is treated.",
        "A patient has {x}. Who makes the medicines that help?"]),
    "person-spouse-university": ("Person", "spouse almaMater", [
        "At which university did the husband or wife of {x} study?",
        "What is the alma mater of the spouse of {x}?",
        "{x} is married; where did the other half go to college?"]),
    "university-town-mayor": ("University", "site mayor", [
        "Who is the mayor of the town where {x} stands?",
        "{x} is a university. Who heads the council of its town?",
        "Name the person who governs the town that {x} is in."]),
    "painter-museums": ("Person", "painted hangsIn", [
        "In which museums do the paintings of {x} hang?",
        "Where can one see pictures by {x}?",
        "List the museums that show works painted by {x}."]),
    "river-bridge-years": ("River", "crossedBy openingYear", [
        "In which years were the bridges over the {x} opened?",
        "When did traffic first use the bridges that cross the river {x}?",
        "What are the opening years of the bridges across the {x}?"]),
    "company-directors": ("Company", "^studio directedBy", [
        "Who directed the films that {x} produced?",
        "Which filmmakers have worked for the production company {x}?",
        "Name the directors of all movies from the studio {x}."]),
    "code-medicines": ("Disease.diseaseCode", "treatedWith", [
        "Which medicines are given against the disease with code {x}?",
        "What drugs help with the illness that physicians register as {x}?",
        "{x} is the code of a disease. What is it treated with?"]),
    "publisher-authors": ("Publisher", "^issuedBy writtenBy", [
        "Which authors are published by {x}?",
        "Who wrote the novels that {x} brought out?",
        "Name the writers whose books appear at {x}."]),
    "sequel-sequel": ("Novel", "sequel sequel", [
        "What is the sequel of the sequel of {x}?",
        "{x} has a continuation, and that has one too. What is the last one called?",
        "Two novels after {x} in the series comes which book?"]),
    "year-directors": ("Film.releaseYear", "directedBy", [
        "Who directed the films released in {x}?",
        "Which filmmakers had a film in the cinemas in {x} for the first time?",
        "Name the directors of the movies that came out in {x}."]),
    "actor-directors": ("Person", "appearsIn directedBy", [
        "Which directors has {x} worked with as an actor?",
        "Who directed the films in which {x} appears?",
        "{x} is an actor. Name the filmmakers of the movies with this actor."]),
    "town-born-novels": ("Town", "^bornIn wrote", [
        "Which novels were written by people born in {x}?",
        "What books did the natives of {x} write?",
        "{x} is the birthplace of some authors; name their novels."]),
    # three facts
    "film-novel-author-university": ("Film", "basedOn writtenBy almaMater", [
        "Where did the author of the novel behind the film {x} study?",
        "What is the alma mater of the writer whose book the movie {x} is based on?",
        "{x} is the film of a novel. At which university was the novelist?"]),
    "painting-museum-town-river": ("Painting", "hangsIn site onRiver", [
        "On which river lies the town of the museum where {x} hangs?",
        "Which river runs through the town whose museum shows the painting {x}?",
        "{x} is shown in a museum. Name the river of the town in which it stands."]),
    "isbn-author-spouse": ("Novel.isbn", "writtenBy spouse", [
        "To whom is the author of the book with ISBN {x} married?",
        "Who is the spouse of the person who wrote the novel {x}, going by its ISBN?",
        "ISBN {x}: name the husband or wife of the novelist."]),
    "medicine-maker-office-mayor": ("Medicine", "maker headOffice mayor", [
        "Who is the mayor of the town where the manufacturer of {x} has its head office?",
        "The firm that makes {x} is run from a town; who heads the council there?",
        "Name the mayor of the town in which the company producing {x} sits."]),
    "code-medicine-maker": ("Disease.diseaseCode", "treatedWith maker", [
        "Which companies make the medicines against the disease with code {x}?",
        "Physicians register an illness as {x}. Who produces the drugs it is treated with?",
        "Name the manufacturers of whatever treats the disease coded {x}."]),
    "film-director-film-years": ("Film", "directedBy directed releaseYear", [
        "In which years did the films of the director of {x} come out?",
        "When were the movies made by the filmmaker behind {x} released?",
        "Someone directed {x}. What are the release years of all films of this person?"]),
    "bridge-river-mouth-length": ("Bridge", "crosses flowsInto lengthKm", [
        "How long is the river into which the river under {x} flows?",
        "{x} crosses a river that ends in a larger one. How many kilometres long is the latter?",
        "What is the length of the stream that takes up the river crossed by {x}?"]),
    "ticker-medicine-disease": ("Company.ticker", "product treats", [
        "Which diseases are treated by the medicines of the company with stock symbol {x}?",
        "Shares of a drug maker trade as {x}. Against what illnesses are its products given?",
        "What do the medicines made by the firm listed as {x} help against?"]),
    "postcode-river-length": ("Town.postcode", "onRiver lengthKm", [
        "How long is the river on which the town with the postcode {x} lies?",
        "Letters to a town bear the code {x}. What is the length of its river?",
        "Postcode {x}: how many kilometres does the river of that town run?"]),
    "novel-author-town-mayor": ("Novel", "writtenBy bornIn mayor", [
        "Who is the mayor of the town where the author of {x} was born?",
        "The writer of the novel {x} comes from some town. Who is its mayor?",
        "Name the head of the council in the birthplace of the novelist who wrote {x}."]),
    "actor-film-novel-author": ("Person", "appearsIn basedOn writtenBy", [
        "Who wrote the novels on which the films with {x} are based?",
        "{x} plays in films made from books. Name the authors of these books.",
        "Which novelists supplied the stories of movies that {x} appears in?"]),
    "pupil-painting-museum": ("Person", "pupil painted hangsIn", [
        "In which museums hang the paintings of the pupils of {x}?",
        "{x} taught painters. Where are their pictures on show?",
        "Name the museums with works by people who learned the craft from {x}."]),
    # four facts
    "film-novel-author-spouse-year": ("Film", "basedOn writtenBy spouse birthYear", [
        "In which year was the spouse of the author of the novel behind the film {x} born?",
        "The movie {x} is made from a book. When was the wife or husband of its writer born?",
        "Birth year of the person married to the novelist whose story the film {x} tells?"]),
    "code-medicine-maker-office": ("Disease.diseaseCode", "treatedWith maker headOffice", [
        "In which towns are the makers of the medicines against the disease with code {x} based?",
        "{x} is the code of an illness. Where do the companies have their head office that make "
        "the drugs for it?",
        "Name the towns of the manufacturers of what treats disease {x}."]),
    "isbn-author-university-town": ("Novel.isbn", "writtenBy almaMater site", [
        "In which town is the university where the author of the book with ISBN {x} studied?",
        "The novel numbered {x} has a writer; in what town does this person's alma mater stand?",
        "Name the town where the one who wrote ISBN {x} went to college."]),
    "painting-museum-town-river-length": ("Painting", "hangsIn site onRiver lengthKm", [
        "How long is the river on which the town of the museum with the painting {x} lies?",
        "{x} hangs in a museum. What is the length of the river that its town lies on?",
        "Length in kilometres of the river in the town where one can see the picture {x}?"]),
    "medicine-maker-parent-office-mayor": ("Medicine", "maker parentCompany headOffice mayor", [
        "Who is the mayor of the town from which the owner of the manufacturer of {x} is run?",
        "The company that makes {x} belongs to another one. Who heads the town where that sits?",
        "Name the mayor of the head office town of the parent company of the maker of {x}."]),
    "sequel-author-town-river": ("Novel", "sequel writtenBy bornIn onRiver", [
        "On which river lies the town where the author of the sequel to {x} was born?",
        "{x} has a follow-up. Name the river at the birthplace of the person who wrote that.",
        "What river runs through the home town of whoever penned the continuation of {x}?"]),
}  # fmt: skip

# Questions about one fact.
SINGLE = {
    "one-director": ("Film", "directedBy", ["Who directed {x}?", "Whose film is {x}?"]),
    "one-cast": ("Film", "starring", ["Who plays in the film {x}?", "Name the actors of {x}."]),
    "one-minutes": ("Film", "runningTime", ["How many minutes does {x} last?"]),
    "one-author": ("Novel", "writtenBy", ["Who wrote {x}?", "{x} is a novel by whom?"]),
    "one-novels": ("Person", "wrote", ["Which books has {x} written?", "Novels by {x}?"]),
    "one-setting": ("Novel", "setIn", ["In which town does the story of {x} take place?"]),
    "one-born": ("Person", "bornIn", ["Where was {x} born?"]),
    "one-natives": ("Town", "^bornIn", ["Who was born in {x}?", "Name people from {x}."]),
    "one-spouse": ("Person", "spouse", ["Who is {x} married to?"]),
    "one-studied": ("Person", "almaMater", ["Where did {x} study?", "What did {x} graduate from?"]),
    "one-mayor": ("Town", "mayor", ["Who is the mayor of {x}?", "Who runs {x}?"]),
    "one-post": ("Town.postcode", "", ["Which town has the postcode {x}?"]),
    "one-length": ("River", "lengthKm", ["How long is the {x}?"]),
    "one-bridges": ("River", "crossedBy", ["Which bridges lead over the {x}?"]),
    "one-ticket": ("Museum", "admission", ["What does it cost to get into the {x}?"]),
    "one-pictures": ("Museum", "collection", ["Which paintings can I see in the {x}?"]),
    "one-painter": ("Painting", "paintedBy", ["Who painted {x}?", "By whom is the picture {x}?"]),
    "one-cure": ("Disease", "treatedWith", ["What helps against {x}?", "Is there a drug for {x}?"]),
    "one-use": ("Medicine", "treats", ["What is {x} good for?", "Why do people take {x}?"]),
    "one-maker": ("Medicine", "maker", ["Which firm sells {x}?"]),
    "one-owner": ("Company", "parentCompany", ["Who owns {x}?", "{x} belongs to which company?"]),
    "one-founder": ("Company", "founder", ["Who started {x}?"]),
    "one-imprint": ("Publisher", "^issuedBy", ["Which novels did {x} bring out?"]),
}  # fmt: skip

# Counted are the facts of the last step.
COUNTS = {
    "count-films": ("Person", "directed", [
        "How many films did {x} direct?", "What is the number of movies made by {x}?"]),
    "count-novels": ("Person", "wrote", [
        "How many novels has {x} written?", "{x} is the author of how many books?"]),
    "count-paintings": ("Museum", "collection", [
        "How many paintings hang in the {x}?", "What number of pictures does the {x} show?"]),
    "count-tributaries": ("River", "tributary", [
        "How many rivers flow into the {x}?", "How many tributaries has the river {x}?"]),
    "count-bridges": ("River", "crossedBy", [
        "How many bridges cross the {x}?", "Over the river {x} lead how many bridges?"]),
    "count-medicines": ("Disease", "treatedWith", [
        "How many medicines are there against {x}?", "How many drugs treat {x}?"]),
    "count-cast": ("Film", "starring", [
        "How many actors play in the film {x}?", "How large is the cast of {x}?"]),
    "count-subsidiaries": ("Company", "subsidiary", [
        "How many companies does {x} own?", "Count the subsidiaries of {x}."]),
    "count-films-of-the-novelist": ("Person", "wrote ^basedOn", [
        "How many films are based on novels by {x}?",
        "How often was a book of the writer {x} filmed?"]),
}  # fmt: skip

# What both have in common: (class of the answers, step to x, step to y, wordings)
INTERSECTIONS = {
    "both-film": ("Film", "directedBy", "starring", [
        "Which films were directed by {x} and star {y}?",
        "In which movies of the director {x} does {y} play?"]),
    "both-medicine": ("Medicine", "maker", "treats", [
        "Which medicines are made by {x} and treat {y}?",
        "What does the firm {x} sell against {y}?"]),
    "both-painting": ("Painting", "paintedBy", "hangsIn", [
        "Which pictures painted by {x} hang in the {y}?",
        "What works of the painter {x} does the {y} show?"]),
    "both-novel": ("Novel", "writtenBy", "issuedBy", [
        "Which novels by {x} were published by {y}?",
        "What did {x} write that {y} brought out?"]),
    "both-bridge": ("Bridge", "crosses", "openingYear", [
        "Which bridges over the {x} were opened in {y}?",
        "Name the bridge that leads over the river {x} and was inaugurated in {y}."]),
    "both-person": ("Person", "bornIn", "almaMater", [
        "Who was born in {x} and studied at {y}?",
        "Which natives of {x} went to {y}?"]),
    "both-town": ("Town", "onRiver", "twinTown", [
        "Which towns lie on the {x} and are twinned with {y}?",
        "Name the partner towns of {y} on the river {x}."]),
}  # fmt: skip

NO_ENTITY = """Hogwarts|rector;Middlemarch Junction|mayor;the Styx of Xanthu|flows into;
Paracetamolix|manufacturer;Zorblax plague|treated with;Captain Wobble|spouse;
Attack of the Zygomorphs|director;Xylophonia Quartz|birthplace;Qwertyuiop|author;
Jupiter Kangaroo Records|head office;the Gallery of Unpainted Chairs|what visitors pay;
Bifrost Flyover|water underneath;Foobarium|helps against;Professor Umptysquat|studied at;
Wuthering Pixels|novelist;Zaphod Beeblebrox|was taught by;The Copper Rooster|director;
Alwin Trask|spouse;Kivioja Press|head office;Ljubno Bridge|span;Sertralope|side effect;
University of Port Amity|rector;saltpan fever|treated with;the Ombwe|length""".replace("\n", "")

NO_PREDICATE = """shoe size|favourite soup|blood group|wifi password|number of lifts|zodiac sign|
voltage|currency of the country|religion|bus stop in front|wingspan|melting point|
annual rainfall|Olympic medals|breed of the dog|passport number""".replace("\n", "")

# Chains that are also asked of what lacks the first fact.
BROKEN = """film-novel-author person-spouse-university town-river-mouth sequel-sequel
bridge-river-length film-novel-author-university painter-museums actor-directors
medicine-maker-parent-office-mayor disease-medicine-maker""".split()

NO_ANSWER = """Who directed the film that is based on a novel by Zaphod Beeblebrox?
Which medicines are given against the Zorblax plague?
In which town is the museum where the Mona Lisa hangs?
Who is the author of the novel with ISBN 978-0-0000-0000?
What is the length of the river on which the town with the postcode 00 000 lies?
Where is the head office of the company with the stock symbol QQQQQQ?
Who is the mayor of the town where Hogwarts stands?
What is the blood group of the director of {Film}?
How many goals did the mayor of {Town} score last season?
Which dog belongs to the author of {Novel}?
What did the curator of the {Museum} eat yesterday?
What colour is the front door of the head office of {Company}?
How tall is the husband or wife of {Person}?
Which planets does the river {River} orbit?
What is the melting point of {Medicine}?
Who won the world championship in the birthplace of Captain Wobble?
How deep is the lake into which the Bifrost Flyover falls?
Which bus goes from {Museum} to the airport?
What is the wifi password of {University}?
Who painted the picture with the inventory number AAAA""".splitlines()

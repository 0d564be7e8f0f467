"""Eight short texts on three subjects, so that a search has an obvious first answer."""

TEXTS = [
    ("wings", 1958, "A swept wing delays the rise of drag near the speed of sound."),
    ("wings", 1961, "The lift of a thin wing in supersonic flow follows from linear theory."),
    ("wings", 1963, "Flutter of a wing panel was measured in a wind tunnel."),
    ("heat", 1957, "Heat transfer to a blunt body depends on the radius of its nose."),
    ("heat", 1959, "Ablation of a plastic shield carries heat away during re-entry."),
    ("heat", 1962, "The temperature of a laminar boundary layer was computed with dissociation."),
    ("gardens", 1960, "Tomatoes ripen best in a sunny garden with regular watering."),
    ("gardens", 1964, "Prune the roses in early spring before the first buds open."),
]

# A question, and the subject of the text that must come first.
QUESTIONS = [
    ("lift of a thin wing in supersonic flow", "wings", 1961),
    ("when should roses be pruned", "gardens", 1964),
    ("ablation of a heat shield during re-entry", "heat", 1959),
]


def schema():
    """The bucket's schema: one text blob and two fields of metadata."""
    return {
        "properties": {
            "content": {"type": "text", "required": True, "description": "what is searched"},
            "topic": {"type": "string"},
            "year": {"type": "integer"},
        }
    }


def item(index):
    """One text as the body of an object."""
    topic, year, text = TEXTS[index]
    return {
        "topic": topic,
        "year": year,
        "blobs": [{"property": "content", "type": "text", "data": text}],
    }

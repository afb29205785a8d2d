"""`CodeMap`: the codes of held-out images laid out in the plane."""

from pathlib import Path

from gncn.evaluation.embedding import embed
from gncn.measures.measure import Measure, Result
from gncn.measures.subject import Subject

_PERPLEXITY = 30.0


class CodeMap(Measure):
    """Codes in the plane by t-SNE: a picture, no number."""

    def measure(self, subject: Subject) -> Result:
        subject.report("laying out codes by t-SNE")
        codes = subject.codes(subject.split)
        # t-SNE needs several times as many points as neighbours that count.
        perplexity = min(_PERPLEXITY, (len(codes) - 1) / 3)
        layout = embed(codes, perplexity=perplexity, seed=subject.seed)
        pictures = {"embedding": layout.positions}
        if (labels := subject.target.labels) is not None:
            pictures["embedding_labels"] = labels[layout.indices]
        return Result(pictures=pictures)

    def figure(self, result: Result, subject: Subject, folder: Path) -> Path | None:
        from gncn.figures.evaluation import draw_embedding

        labels = result.pictures.get("embedding_labels")
        return draw_embedding(folder / "embedding.png", result.pictures["embedding"], labels)

"""Answers of `sparsebench.bench.decide` as sentences, in the terminal and as JSON."""

from sparsebench.bench.present.decisions.sentences import Said, closing_lines, plain, said

__all__ = ["Said", "closing_lines", "plain", "said"]

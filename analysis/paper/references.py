"""Works that a Methods text may cite: how the text names them, and their BibTeX entries."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

BIB_FILE: Final = "references.bib"
"""Name of the BibTeX file of an export."""


class Reference(NamedTuple):
    """A work.

    Attributes
    ----------
    short : str
        Authors and year, for plain text.
    kind : str
        Type of the BibTeX entry.
    fields : dict of str to str
        Fields of the BibTeX entry, as LaTeX.
    """

    short: str
    kind: str
    fields: dict[str, str]

    def render(self, key: str) -> str:
        """Return the BibTeX entry."""
        lines = [f"  {name} = {{{value}}}," for name, value in self.fields.items()]
        return "\n".join([f"@{self.kind}{{{key},", *lines, "}"])


def _entry(short: str, kind: str, author: str, title: str, **others: str) -> Reference:
    return Reference(short, kind, {"author": author, "title": title, **others, "year": short[-4:]})


_JMLR: Final = "Journal of Machine Learning Research"

REFERENCES: Final = {
    "zheng2025helo": _entry(
        "Zheng et al., 2025",
        "inproceedings",
        "Zheng, Chuhang and Tian, Chunwei and Wen, Jie and Zhang, Daoqiang and Zhu, Qi",
        "{HeLo}: Heterogeneous Multi-Modal Fusion with Label Correlation for Emotion Distribution Learning",
        booktitle="Proceedings of the 33rd ACM International Conference on Multimedia",
        note="arXiv:2507.06821",
    ),
    "schmidt2018wesad": _entry(
        "Schmidt et al., 2018",
        "inproceedings",
        r"Schmidt, Philip and Reiss, Attila and D{\"u}richen, Robert and Marberger, Claus and Van Laerhoven, Kristof",
        "Introducing {WESAD}, a Multimodal Dataset for Wearable Stress and Affect Detection",
        booktitle="Proceedings of the 20th ACM International Conference on Multimodal Interaction",
        doi="10.1145/3242969.3242985",
    ),
    "yang2024dmer": _entry(
        "Yang et al., 2024",
        "article",
        "Yang, Pei and Liu, Niqi and Liu, Xinge and Shu, Yezhi and Ji, Wenqi and Ren, Ziqi and Sheng, Jenny and"
        " Yu, Minjing and Yi, Ran and Zhang, Dan and Liu, Yong-Jin",
        "A Multimodal Dataset for Mixed Emotion Recognition",
        journal="Scientific Data",
        volume="11",
        pages="847",
        doi="10.1038/s41597-024-03676-4",
    ),
    "geng2016ldl": _entry(
        "Geng, 2016",
        "article",
        "Geng, Xin",
        "Label Distribution Learning",
        journal="IEEE Transactions on Knowledge and Data Engineering",
        volume="28",
        number="7",
        pages="1734--1748",
    ),
    "paszke2019pytorch": _entry(
        "Paszke et al., 2019",
        "inproceedings",
        "Paszke, Adam and others",
        "{PyTorch}: An Imperative Style, High-Performance Deep Learning Library",
        booktitle="Advances in Neural Information Processing Systems 32",
    ),
    "flamary2021pot": _entry(
        "Flamary et al., 2021",
        "article",
        r"Flamary, R{\'e}mi and others",
        "{POT}: {Python} Optimal Transport",
        journal=_JMLR,
        volume="22",
        number="78",
        pages="1--8",
    ),
    "liaw2018tune": _entry(
        "Liaw et al., 2018",
        "misc",
        "Liaw, Richard and Liang, Eric and Nishihara, Robert and Moritz, Philipp and Gonzalez, Joseph E."
        " and Stoica, Ion",
        "Tune: A Research Platform for Distributed Model Selection and Training",
        howpublished="arXiv:1807.05118",
    ),
    "akiba2019optuna": _entry(
        "Akiba et al., 2019",
        "inproceedings",
        "Akiba, Takuya and Sano, Shotaro and Yanase, Toshihiko and Ohta, Takeru and Koyama, Masanori",
        "Optuna: A Next-generation Hyperparameter Optimization Framework",
        booktitle="Proceedings of the 25th ACM SIGKDD International Conference on Knowledge Discovery and Data Mining",
        doi="10.1145/3292500.3330701",
    ),
    "bergstra2011tpe": _entry(
        "Bergstra et al., 2011",
        "inproceedings",
        r"Bergstra, James and Bardenet, R{\'e}mi and Bengio, Yoshua and K{\'e}gl, Bal{\'a}zs",
        "Algorithms for Hyper-Parameter Optimization",
        booktitle="Advances in Neural Information Processing Systems 24",
    ),
    "li2020asha": _entry(
        "Li et al., 2020",
        "inproceedings",
        "Li, Liam and Jamieson, Kevin and Rostamizadeh, Afshin and Gonina, Ekaterina and Ben-Tzur, Jonathan and"
        " Hardt, Moritz and Recht, Benjamin and Talwalkar, Ameet",
        "A System for Massively Parallel Hyperparameter Tuning",
        booktitle="Proceedings of Machine Learning and Systems 2",
    ),
    "lopez2016irace": _entry(
        "López-Ibáñez et al., 2016",
        "article",
        r"L{\'o}pez-Ib{\'a}{\~n}ez, Manuel and Dubois-Lacoste, J{\'e}r{\'e}mie and {P{\'e}rez C{\'a}ceres}, Leslie and"
        r" Birattari, Mauro and St{\"u}tzle, Thomas",
        "The irace package: Iterated racing for automatic algorithm configuration",
        journal="Operations Research Perspectives",
        volume="3",
        pages="43--58",
    ),
    "caruana2004": _entry(
        "Caruana et al., 2004",
        "inproceedings",
        "Caruana, Rich and Niculescu-Mizil, Alexandru and Crew, Geoff and Ksikes, Alex",
        "Ensemble Selection from Libraries of Models",
        booktitle="Proceedings of the 21st International Conference on Machine Learning",
    ),
    "pedregosa2011sklearn": _entry(
        "Pedregosa et al., 2011",
        "article",
        "Pedregosa, Fabian and others",
        "Scikit-learn: Machine Learning in {Python}",
        journal=_JMLR,
        volume="12",
        pages="2825--2830",
    ),
    "efron1993bootstrap": _entry(
        "Efron and Tibshirani, 1993",
        "book",
        "Efron, Bradley and Tibshirani, Robert J.",
        "An Introduction to the Bootstrap",
        publisher="Chapman and Hall",
    ),
    "wilcoxon1945": _entry(
        "Wilcoxon, 1945",
        "article",
        "Wilcoxon, Frank",
        "Individual Comparisons by Ranking Methods",
        journal="Biometrics Bulletin",
        volume="1",
        number="6",
        pages="80--83",
    ),
    "kerby2014": _entry(
        "Kerby, 2014",
        "article",
        "Kerby, Dave S.",
        "The Simple Difference Formula: An Approach to Teaching Nonparametric Correlation",
        journal="Comprehensive Psychology",
        volume="3",
        doi="10.2466/11.IT.3.1",
    ),
    "holm1979": _entry(
        "Holm, 1979",
        "article",
        "Holm, Sture",
        "A Simple Sequentially Rejective Multiple Test Procedure",
        journal="Scandinavian Journal of Statistics",
        volume="6",
        number="2",
        pages="65--70",
    ),
    "friedman1937": _entry(
        "Friedman, 1937",
        "article",
        "Friedman, Milton",
        "The Use of Ranks to Avoid the Assumption of Normality Implicit in the Analysis of Variance",
        journal="Journal of the American Statistical Association",
        volume="32",
        number="200",
        pages="675--701",
    ),
    "herbold2020autorank": _entry(
        "Herbold, 2020",
        "article",
        "Herbold, Steffen",
        "Autorank: A {Python} package for automated ranking of classifiers",
        journal="Journal of Open Source Software",
        volume="5",
        number="48",
        pages="2173",
    ),
    "watanabe2023pedanova": _entry(
        "Watanabe et al., 2023",
        "inproceedings",
        "Watanabe, Shuhei and Bansal, Archit and Hutter, Frank",
        "{PED-ANOVA}: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces",
        booktitle="Proceedings of the 32nd International Joint Conference on Artificial Intelligence",
    ),
    "benavoli2017": _entry(
        "Benavoli et al., 2017",
        "article",
        r"Benavoli, Alessio and Corani, Giorgio and Dem{\v{s}}ar, Janez and Zaffalon, Marco",
        "Time for a Change: a Tutorial for Comparing Multiple Classifiers Through {Bayesian} Analysis",
        journal=_JMLR,
        volume="18",
        number="77",
        pages="1--36",
    ),
    "lei2018": _entry(
        "Lei et al., 2018",
        "article",
        "Lei, Jing and G'Sell, Max and Rinaldo, Alessandro and Tibshirani, Ryan J. and Wasserman, Larry",
        "Distribution-Free Predictive Inference for Regression",
        journal="Journal of the American Statistical Association",
        volume="113",
        number="523",
        pages="1094--1111",
    ),
    "virtanen2020scipy": _entry(
        "Virtanen et al., 2020",
        "article",
        "Virtanen, Pauli and others",
        "{SciPy} 1.0: fundamental algorithms for scientific computing in {Python}",
        journal="Nature Methods",
        volume="17",
        pages="261--272",
    ),
}
"""Key → work."""

# Names in the data may look like a citation; only known keys are.
_CITED: Final = re.compile(rf"\[@({'|'.join(REFERENCES)})\]")


def cited(text: str) -> list[str]:
    """Return the keys that a text cites, in order.

    Examples
    --------
    >>> cited("TPE [@bergstra2011tpe] of Optuna [@akiba2019optuna] is TPE [@bergstra2011tpe].")
    ['bergstra2011tpe', 'akiba2019optuna']
    """
    return list(dict.fromkeys(_CITED.findall(text)))


def name_citations(text: str) -> str:
    """Replace citations by authors and years.

    Examples
    --------
    >>> name_citations("Optuna [@akiba2019optuna]")
    'Optuna (Akiba et al., 2019)'
    """
    return _CITED.sub(lambda found: f"({REFERENCES[found[1]].short})", text)


def split_citations(text: str) -> list[tuple[str, bool]]:
    """Split a text into pieces and keys, each with whether it is a key.

    Examples
    --------
    >>> split_citations("Optuna [@akiba2019optuna].")
    [('Optuna ', False), ('akiba2019optuna', True), ('.', False)]
    """
    pieces = _CITED.split(text)
    return [(piece, bool(place % 2)) for place, piece in enumerate(pieces) if piece]


def render_bibliography(keys: Iterable[str]) -> str:
    """Return the BibTeX entries of some works."""
    return "\n\n".join(REFERENCES[key].render(key) for key in keys) + "\n"

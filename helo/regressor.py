"""HeLo as a scikit-learn regressor; `helo.model.network` has the model and its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags, check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data

from helo.configuration import DEFAULTS, Configuration, roles_read
from helo.data.dataset import LABEL_SUM_TOLERANCE, Dataset, Signals
from helo.data.schema import Modality, Schema
from helo.data.subjects import encode_subjects
from helo.errors import InputError, did_you_mean
from helo.evaluation.folds import INNER_FOLDS, Split, inner_splits
from helo.evaluation.scaling import Scaling
from helo.metrics import mean_scores, window_scores
from helo.names import Normalisation, Role, enum_values
from helo.settings import TrainingSettings
from helo.training.budget import AUTO, resolve_automatic, with_defaults_for_auto
from helo.training.fitted import FittedModel
from helo.training.fitted_members import fit_members
from helo.training.model_files import OUT_OF_FOLD

_GROUP_KEYS = ("columns", "role", "tokens", "main")


class HeLoRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """HeLo, a regressor from signals to emotion distributions, with the interface of scikit-learn.

    It is an ensemble: K members are fitted, each without a K-th of the subjects, and a prediction is their mean.

    Parameters
    ----------
    column_groups : mapping, optional
        Modality → ``{"columns": [...], "role": ..., "tokens": ..., "main": ...}``. ``columns`` lists the columns of
        X token by token, as names (of a data frame) or indices. ``role`` is ``"physiological"`` (the default) or
        ``"behavioural"``, ``tokens`` the number of tokens (by default one per column) and ``main`` whether the
        modality is the query of the fusion (by default the first physiological one). Without groups all columns are
        one physiological modality.
    transport, ot_entropy, ot_alpha, alignment_weight, label_attention, modalities, feature_encoding, \
linear_share, linear_penalty, attention_depth, width, heads, dropout, learning_rate, weight_decay, subject_offset, \
batch_size, epochs
        Hyperparameters, see `helo.configuration.Configuration`. ``modalities="both"`` reads all column groups. If
        they all have one role, there is no transport, and its hyperparameters have no effect. ``"auto"``, the default
        of `batch_size` and `epochs`, derives them from the number of training windows, see
        `helo.training.budget.training_budget`.
    normalise : {"train", "subject"}, default="train"
        Windows that the scaling statistics of features come from, see `helo.evaluation.scaling.Scaling`.
        ``"subject"`` needs ``groups`` in `fit`, see `predict` for its use there.
    inner_folds : int, default=5
        Number K of members, at most the number of subjects (without ``groups``, of rows). With 1, a single member is
        fitted to all rows.
    random_state : int, RandomState instance or None, default=0
        Seed of the division of the subjects, the first weights, the order of windows and dropout.
    threads : int or None, default=None
        CPU threads of torch during `fit`; None leaves torch's setting unchanged.

    Attributes
    ----------
    model_ : helo.training.fitted.FittedModel
        Members, their scaling and the schema. It can be saved and used by ``helo-predict``.
    n_features_in_ : int
        Number of columns F of X in `fit`.
    feature_names_in_ : ndarray of shape (F,)
        Names of the columns, if X was a data frame with string names.
    left_out_rows_ : list of ndarray of int
        Rows of X that each member was fitted without. Empty for a single member.
    out_of_fold_prediction_ : ndarray of shape (N, E) or None
        Prediction of each row of X by the member that was fitted without it. None for a single member.
    n_iter_ : int
        Number of epochs of each member.
    history_ : list of dict
        Training losses of each epoch, averaged over members.

    Notes
    -----
    `score` is the coefficient of determination R² of scikit-learn, averaged over emotions. For the metrics of emotion
    distribution learning see `helo.metrics` and `negative_kl`, which serves as ``scoring=HeLoRegressor.negative_kl``.

    Tools of scikit-learn such as `cross_val_predict` give their ``groups`` to the splitter only. To divide each
    training set by subjects, pass them on to `fit` with ``params={"groups": subjects}``.

    A feature may be NaN (missing), but a row must have at least one feature.

    Examples
    --------
    >>> from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
    >>> from helo import HeLoRegressor
    >>> from helo.data import simulate
    >>> data = simulate(subjects=4, clips=2, windows=4)
    >>> model = HeLoRegressor(width=8, epochs=2)
    >>> X, Y, groups = data.features, data.labels, data.subjects
    >>> split = LeaveOneGroupOut()
    >>> predicted = cross_val_predict(model, X, Y, groups=groups, cv=split, params={"groups": groups})
    >>> predicted.shape == data.labels.shape
    True
    """

    def __init__(  # noqa: PLR0913 - scikit-learn wants every hyperparameter as an argument
        self,
        *,
        column_groups: Mapping[str, Mapping[str, Any]] | None = None,
        transport: str = DEFAULTS["transport"],
        ot_entropy: float = DEFAULTS["ot_entropy"],
        ot_alpha: float = DEFAULTS["ot_alpha"],
        alignment_weight: float = DEFAULTS["alignment_weight"],
        label_attention: str = DEFAULTS["label_attention"],
        modalities: str = DEFAULTS["modalities"],
        feature_encoding: str = DEFAULTS["feature_encoding"],
        linear_share: float = DEFAULTS["linear_share"],
        linear_penalty: float = DEFAULTS["linear_penalty"],
        attention_depth: int = DEFAULTS["attention_depth"],
        width: int = DEFAULTS["width"],
        heads: int = DEFAULTS["heads"],
        dropout: float = DEFAULTS["dropout"],
        learning_rate: float = DEFAULTS["learning_rate"],
        weight_decay: float = DEFAULTS["weight_decay"],
        subject_offset: float = DEFAULTS["subject_offset"],
        batch_size: int | str = AUTO,
        epochs: int | str = AUTO,
        normalise: str = "train",
        inner_folds: int = INNER_FOLDS,
        random_state: int | np.random.RandomState | None = 0,
        threads: int | None = None,
    ) -> None:
        self.column_groups = column_groups
        self.transport = transport
        self.ot_entropy = ot_entropy
        self.ot_alpha = ot_alpha
        self.alignment_weight = alignment_weight
        self.label_attention = label_attention
        self.modalities = modalities
        self.feature_encoding = feature_encoding
        self.linear_share = linear_share
        self.linear_penalty = linear_penalty
        self.attention_depth = attention_depth
        self.width = width
        self.heads = heads
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.subject_offset = subject_offset
        self.batch_size = batch_size
        self.epochs = epochs
        self.normalise = normalise
        self.inner_folds = inner_folds
        self.random_state = random_state
        self.threads = threads

    def fit(self, X: Any, Y: Any, groups: ArrayLike | None = None) -> Self:
        """Fit the members.

        Parameters
        ----------
        X : array-like of shape (N, F)
            Features; NaN where a signal is missing.
        Y : array-like of shape (N, E)
            Emotion distributions: rows that are not negative and sum to 1.
        groups : array-like of shape (N,), optional
            Subject of each row. A member is fitted without whole subjects. Without groups each row is its own subject.

        Returns
        -------
        HeLoRegressor
            The fitted regressor itself.

        Raises
        ------
        ValueError
            If a hyperparameter, a column group, X, Y or `groups` is not valid. The message names the rule.
        """
        params = self._params()
        Configuration.from_params(with_defaults_for_auto(params))
        self._check_settings()
        emotions = [str(name) for name in getattr(Y, "columns", ())]
        X, Y = validate_data(
            self, X, Y, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=2, multi_output=True
        )
        Y = _check_distributions(Y)
        if groups is None and self.normalise == Normalisation.SUBJECT:
            raise ValueError("groups must name the subject of each row with normalise='subject', got None")
        emotions = emotions or [f"emotion{number}" for number in range(Y.shape[1])]
        self._schema, self._columns = self._make_schema(emotions)
        selection = roles_read(params["modalities"], self._schema.roles)
        random_state = check_random_state(self.random_state)
        subjects, splits = self._split(len(X), groups, random_state)
        dataset = Dataset(self._schema, subjects, self._features(X), Y)
        self.left_out_rows_ = [dataset.rows(split.validation) for split in splits]
        smallest = min(map(len, self.left_out_rows_), default=0)
        configuration = Configuration.from_params(
            {**resolve_automatic(params, windows=len(X) - smallest), "modalities": selection}
        )
        seed = int(random_state.randint(2**31 - 1))
        threads = torch.get_num_threads()
        try:
            if self.threads is not None:
                torch.set_num_threads(self.threads)
            self._train(dataset, splits, configuration, seed)
        finally:
            torch.set_num_threads(threads)
        return self

    @overload
    def predict(
        self, X: Any, groups: ArrayLike | None = None, return_disagreement: Literal[False] = False
    ) -> NDArray[np.float64]: ...

    @overload
    def predict(
        self, X: Any, groups: ArrayLike | None = None, *, return_disagreement: Literal[True]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...

    def predict(
        self, X: Any, groups: ArrayLike | None = None, return_disagreement: bool = False
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predict emotion distributions: the mean over members.

        Parameters
        ----------
        X : array-like of shape (N, F)
            Features; NaN where a signal is missing.
        groups : array-like of shape (N,), optional
            Subject of each row. It matters with ``normalise="subject"`` only. Without groups all rows are windows of
            one subject.
        return_disagreement : bool, default=False
            Whether the disagreement of the members is returned, too.

        Returns
        -------
        predicted : ndarray of shape (N, E)
            Distributions: rows that are not negative and sum to 1.
        disagreement : ndarray of shape (N,)
            Mean total variation between the prediction of a member and the mean prediction, from 0 to 1. NaN for a
            single member. Only if `return_disagreement` is true.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        subjects = np.zeros(len(X), np.intp) if groups is None else encode_subjects(column_or_1d(groups), len(X))[1]
        signals = Signals(self._schema, subjects.astype(np.str_), self._features(X))
        predicted, disagreement = self.model_.predict(signals, return_disagreement=True)
        return (predicted, disagreement) if return_disagreement else predicted

    def negative_kl(self, X: Any, Y: Any, groups: ArrayLike | None = None) -> float:
        """Return the negative mean Kullback–Leibler divergence of predictions from labels; higher is better.

        ``scoring=HeLoRegressor.negative_kl`` uses it in a cross-validation or a search.

        Parameters
        ----------
        X : array-like of shape (N, F)
            Features.
        Y : array-like of shape (N, E)
            Emotion distributions.
        groups : array-like of shape (N,), optional
            Subject of each row, see `predict`.

        Returns
        -------
        float
            Negative mean over rows of KL(Y ‖ prediction), in nats.
        """
        return -float(window_scores(Y, self.predict(X, groups))["kl"].mean())

    def __sklearn_tags__(self) -> Tags:
        """Return the tags of scikit-learn: missing values are allowed and the target has several columns."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.single_output = False
        tags.target_tags.multi_output = True
        tags.target_tags.positive_only = True
        return tags

    def _params(self) -> dict[str, Any]:
        """Return the hyperparameters as plain values, some of which may be ``"auto"``."""
        values = {name: getattr(self, name) for name in DEFAULTS}
        # A parameter grid may hold NumPy scalars, which are neither int nor float.
        return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}

    def _check_settings(self) -> None:
        if self.normalise not in enum_values(Normalisation):
            raise ValueError(f"normalise must be {' or '.join(enum_values(Normalisation))}, got {self.normalise!r}")
        if not isinstance(self.inner_folds, int | np.integer) or self.inner_folds < 1:
            raise ValueError(f"inner_folds must be a whole number of at least 1, got {self.inner_folds!r}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads >= 1 must hold, got {self.threads!r}")

    def _make_schema(self, emotions: Sequence[str]) -> tuple[Schema, NDArray[np.intp]]:
        """Return the schema and, in its order, the index of each feature's column in X."""
        names = [
            str(name) for name in getattr(self, "feature_names_in_", map("x{}".format, range(self.n_features_in_)))
        ]
        groups = self.column_groups or {"signals": {"columns": range(len(names))}}
        main = next((name for name, group in groups.items() if group.get("main")), None)
        modalities, columns = [], []
        for name, group in groups.items():
            where = f"column_groups[{name!r}]"
            for key in group:
                if key not in _GROUP_KEYS:
                    raise InputError(f"{where}: unknown key {key!r}{did_you_mean(str(key), _GROUP_KEYS)}")
            if "columns" not in group:
                raise InputError(f"{where}: columns are missing")
            found = [_column_index(column, names, where) for column in group["columns"]]
            role = group.get("role", Role.PHYSIOLOGICAL)
            if main is None and role == Role.PHYSIOLOGICAL:
                main = name
            labels = tuple(names[index] for index in found)
            modalities.append(Modality(str(name), role, labels, group.get("tokens", len(found)), name == main))
            columns += found
        schema = Schema("table", tuple(modalities), {name: f"label_{name}" for name in emotions})
        return schema, np.asarray(columns, np.intp)

    def _features(self, X: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the features in the order of the schema."""
        used = X[:, self._columns]
        empty = np.isnan(used).all(axis=1)
        if empty.any():
            raise ValueError(
                f"X: a row must have at least one feature that is not NaN; row {int(empty.argmax())} has none"
            )
        with np.errstate(over="ignore"):  # Values beyond float32 become infinite, which `Signals` refuses.
            features: NDArray[np.float32] = used.astype(np.float32)
        return features

    def _split(
        self, rows: int, groups: ArrayLike | None, random_state: np.random.RandomState
    ) -> tuple[NDArray[np.str_], tuple[Split, ...]]:
        """Return the subject of each row, as used in training, and the splits of the members."""
        names, codes = (
            (np.arange(rows), np.arange(rows)) if groups is None else encode_subjects(column_or_1d(groups), rows)
        )
        self._subject_names = () if groups is None else tuple(str(name) for name in names)
        count = min(int(self.inner_folds), len(names))
        order = random_state.permutation(len(names))
        if groups is None and count > 1:
            # Rows that the same member is fitted without are one subject: a subject per row would take long.
            codes[order] = np.arange(rows) * count // rows
            order = np.arange(count)
        if len(names) == 1 or (groups is None and count == 1):
            codes = np.arange(rows) % 2  # A dataset has two subjects; for a single member their names do not matter.
        splits = inner_splits([str(code) for code in order], count) if count > 1 else ()
        return codes.astype(np.str_), splits

    def _train(self, dataset: Dataset, splits: tuple[Split, ...], configuration: Configuration, seed: int) -> None:
        # Of one subject, the statistics of all windows are those of the subject.
        alone = len(self._subject_names) == 1
        settings = TrainingSettings(seed, Normalisation.TRAIN if alone else self.normalise)
        members, self.out_of_fold_prediction_, self.history_ = fit_members(dataset, splits, configuration, settings)
        if alone and self.normalise == Normalisation.SUBJECT:
            members = replace(members, scalings=(Scaling(Normalisation.SUBJECT),))
        self.n_iter_ = configuration.epochs
        facts = {}
        if self.out_of_fold_prediction_ is not None:
            facts[OUT_OF_FOLD] = self._out_of_fold_scores(dataset, self.out_of_fold_prediction_)
        self.model_ = FittedModel(dataset.schema, (members,), self._subject_names, facts)

    def _out_of_fold_scores(self, dataset: Dataset, predicted: NDArray[np.float64]) -> dict[str, float]:
        """Return means over subjects, or over rows if each row is its own subject."""
        if self._subject_names:
            return mean_scores(dataset.labels, predicted, dataset.subjects)
        return {name: float(scores.mean()) for name, scores in window_scores(dataset.labels, predicted).items()}


def _column_index(column: Any, names: Sequence[str], where: str) -> int:
    if isinstance(column, str):
        if column not in names:
            raise InputError(f"{where}: X has no column {column!r}{did_you_mean(column, names)}")
        return names.index(column)
    index = int(column)
    if not 0 <= index < len(names):
        raise InputError(f"{where}: 0 <= column < {len(names)} must hold, got {index}")
    return index


def _check_distributions(labels: Any) -> NDArray[np.float64]:
    """Return labels (N, E) as float64; raise `ValueError` unless each row is a distribution."""
    distributions: NDArray[np.float64] = np.array(labels, dtype=np.float64)
    if distributions.ndim != 2 or distributions.shape[1] < 2:
        raise ValueError(
            f"Y must have shape (n_samples, n_emotions) with at least 2 emotions, got shape {distributions.shape}"
        )
    wrong = (distributions < 0).any(axis=1) | (np.abs(distributions.sum(axis=1) - 1) > LABEL_SUM_TOLERANCE)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"Y must hold distributions, rows that are not negative and sum to 1: row {row} has the minimum "
            f"{distributions[row].min():g} and the sum {distributions[row].sum():g}"
        )
    return distributions

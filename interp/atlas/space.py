"""From profiles to points in which only mechanisms should be near each other.

1. A row is divided by its length, and each entry replaced by its root with its sign: large contributions of the
   embedding do not hide small ones of a head.
2. What words explain is taken off: a ridge regression on the answer, the token where the prediction is made, and the
   bag of words of the context (truncated SVD) predicts every entry, cross-fitted for the tokens it was fitted on. So
   groups that are only words are not found; neither is a mechanism that always comes with the same words.
3. Rows are centred. *Features* are what is left; *points* are their principal components, up to 95 % of the variance,
   of length one, so that squared distance is 2 - 2 cos.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palaestra.interp.atlas.tokens import Floats, Ints, Tokens

Array = NDArray[np.float64]

RARE = 3
"""A word that fewer tokens have is no feature."""
BAG = 16
"""Dimensions of a bag of words."""
VARIANCE, MOST_DIMENSIONS = 0.95, 30


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """What is known of the words around a token, as numbers.

    Attributes:
        answers, heres: Ids that are features of their own.
        bag: Ids that a bag counts.
        axes: float64 [bag, at most BAG].
    """

    answers: Ints
    heres: Ints
    bag: Ints
    axes: Array

    @classmethod
    def fit(cls, tokens: Tokens, seed: int = 0) -> Words:
        """Find out which words are frequent enough."""
        from sklearn.decomposition import TruncatedSVD

        def often(ids: Ints) -> Ints:
            values, counts = np.unique(ids, return_counts=True)
            return values[counts >= RARE].astype(np.int64)

        bag = often(np.concatenate([np.unique(tokens.context(one)) for one in range(len(tokens))]))
        counts = counted(tokens, bag)
        size = min(BAG, min(counts.shape) - 1)
        axes = np.zeros((len(bag), 0))
        if size >= 1:
            axes = TruncatedSVD(size, random_state=seed).fit(counts).components_.T
        return cls(often(tokens.answer), often(tokens.here), bag, axes)

    def of(self, tokens: Tokens) -> Array:
        """Return the features of tokens: [n, f]."""
        answer = tokens.answer[:, None] == self.answers[None]
        here = tokens.here[:, None] == self.heres[None]
        return np.concatenate([answer, here, counted(tokens, self.bag) @ self.axes], 1).astype(np.float64)


def counted(tokens: Tokens, ids: Ints) -> Array:
    """Return bags of words of the contexts, each of length one: [n, len(ids)]."""
    found = np.zeros((len(tokens), len(ids)))
    for number in range(len(tokens)):
        values, counts = np.unique(tokens.context(number), return_counts=True)
        at = np.searchsorted(ids, values)
        known = (at < len(ids)) & (ids[np.minimum(at, len(ids) - 1)] == values) if len(ids) else np.zeros(0, bool)
        if len(ids):
            found[number, at[known]] = counts[known]
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """How profiles become features and points.

    Attributes:
        words: Features of words; None where their effects are kept.
        coefficients: [f + 1, p], the last row being the intercept.
        centre: [p].
        basis: [d, p].
        explained: Part of the variance of profiles that words predict, cross-fitted; 0 where nothing was taken off.
    """

    words: Words | None
    coefficients: Array
    centre: Array
    basis: Array
    explained: float

    def features(self, values: Floats, tokens: Tokens) -> Array:
        """Return features of other tokens than those it was fitted on: [n, p] from profiles [n, p]."""
        found = compressed(values)
        if self.words is not None:
            found = found - _with_one(self.words.of(tokens)) @ self.coefficients
        return found - self.centre

    def points(self, features: Array) -> Array:
        """Return points: [n, d]."""
        return unit(features @ self.basis.T)


def fit_space(values: Floats, tokens: Tokens, *, lexical: bool = True, seed: int = 0) -> tuple[Space, Array]:
    """Fit a space to profiles; return it and the features of the tokens.

    Args:
        values: [n, p] profiles.
        tokens: The n tokens.
        lexical: Take off what words explain.
        seed: Of folds and decompositions.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict

    found = compressed(values)
    words, coefficients, explained = None, np.zeros((1, found.shape[1])), 0.0
    if lexical and len(tokens) >= 20:
        words = Words.fit(tokens, seed)
        x = words.of(tokens)
        strength = float(RidgeCV(alphas=np.logspace(-1, 4, 8)).fit(x, found).alpha_)
        folds = KFold(5, shuffle=True, random_state=seed)
        guessed = cross_val_predict(Ridge(alpha=strength), x, found, cv=folds)
        whole = Ridge(alpha=strength).fit(x, found)
        coefficients = np.concatenate([whole.coef_.T, whole.intercept_[None]])
        rest = found - guessed
        total = ((found - found.mean(0)) ** 2).sum()
        explained = max(0.0, float(1 - (rest**2).sum() / max(total, 1e-12)))
        found = rest
    centre = found.mean(0)
    features = found - centre
    pca = PCA(min(MOST_DIMENSIONS, *(one - 1 for one in features.shape)), random_state=seed).fit(features)
    kept = int(np.searchsorted(np.cumsum(pca.explained_variance_ratio_), VARIANCE)) + 1
    return Space(words, coefficients, centre, pca.components_[:kept], explained), features


def compressed(values: Floats) -> Array:
    """Return rows of length one, each entry its signed root: [n, p]."""
    rows = unit(values.astype(np.float64))
    return np.sign(rows) * np.sqrt(np.abs(rows))


def unit(values: Array) -> Array:
    """Return rows of length one."""
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-9)


def _with_one(x: Array) -> Array:
    return np.concatenate([x, np.ones((len(x), 1))], 1)

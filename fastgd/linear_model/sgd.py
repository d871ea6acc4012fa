"""SGDClassifier and SGDRegressor."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn import linear_model
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.parallel import Parallel, delayed

from ..formulas.updates import Optimizer
from ..result import Fit
from .estimator import Estimator, require_in_memory
from .sgd_batches import Batches, check_partial_fit
from .sgd_descent import Descent, Outcome, Parameters, Rows
from .sgd_fit import fit_of

#: Random seeds are below this.
_SEEDS = np.iinfo(np.int32).max
_CONSTRAINTS = {
    "intercept_decay": [Interval(Real, 0, None, closed="left"), None],
    "batch_size": [Interval(Integral, 1, None, closed="left"), None],
    "optimizer": [str, Optimizer, None],
}


class _SGD(Estimator):
    """What both estimators share."""

    _own: ClassVar[tuple[str, ...]] = ("costs_", *_CONSTRAINTS, "_stopped", "_method")
    batch_size: int | None
    optimizer: Any
    costs_: np.ndarray
    #: Whether the rule of `tol` ended the last run, for every class, and the `Fit.method` of it.
    _stopped: bool
    _method: str

    @property
    def fit_(self) -> Fit:
        """The model as `fastgd.fit` returns one."""
        return fit_of(self)

    def _fit(self, X: Any, *others: Any, **named: Any) -> Any:
        require_in_memory(self, X)
        return super()._fit(X, *others, **named)  # type: ignore[misc]

    def _partial_fit(self, X: Any, *others: Any, **named: Any) -> Any:
        require_in_memory(self, X)
        return super()._partial_fit(X, *others, **named)  # type: ignore[misc]

    def _more_validate_params(self, for_partial_fit: bool = False) -> None:
        super()._more_validate_params(for_partial_fit)  # type: ignore[misc]
        if for_partial_fit and self._has_batches():
            check_partial_fit(self)

    def _has_batches(self) -> bool:
        return self.batch_size is not None or self.optimizer is not None

    def _descent(self, X: Any) -> Any:
        """The runs on some rows: scikit-learn's, or those of batches or an optimizer."""
        return Batches(self, X) if self._has_batches() else Descent(self, Rows(X))

    def _start(self, output: int, outputs: int, dtype: Any) -> Parameters:
        """The parameters of an output, as `fit` and `partial_fit` of scikit-learn have allocated them."""
        model: Any = self
        averages = model.average > 0
        coef = model._standard_coef if averages else model.coef_
        intercept = model._standard_intercept if averages else model.intercept_
        mean, mean_intercept = np.empty(0, dtype), 0.0
        if averages:
            mean = model._average_coef.reshape(outputs, -1)[output]
            mean_intercept = float(model._average_intercept[output])
        coef = coef.reshape(outputs, -1)[output]
        return Parameters(coef, float(intercept[output]), mean, mean_intercept)

    def _end(self, outcomes: list[Outcome], n: int, shape: tuple[int, ...]) -> None:
        """Set the attributes after runs of all outputs."""
        model: Any = self
        begun = model.t_ == 1.0 or not hasattr(self, "costs_")
        model.n_iter_ = max(outcome.n_iter for outcome in outcomes)
        model.t_ += model.n_iter_ * n
        self._stopped, self._method = all(one.stopped for one in outcomes), outcomes[0].method
        found = [outcome.parameters for outcome in outcomes]
        # As in scikit-learn, where one intercept comes back as a float.
        dtype = found[0].coef.dtype if len(found) > 1 else np.float64
        coef = np.array([one.coef for one in found]).reshape(shape)
        intercept = np.array([one.intercept for one in found], dtype)
        if model.average > 0:
            model._standard_coef, model._standard_intercept = coef, intercept
            model._average_coef = np.array([one.mean for one in found]).reshape(shape)
            model._average_intercept = np.array([one.mean_intercept for one in found], dtype)
            if model.average <= model.t_ - 1.0:
                coef, intercept = model._average_coef, model._average_intercept
        model.coef_, model.intercept_ = coef, intercept
        costs = np.full((len(found), model.n_iter_), np.nan)
        for row, outcome in zip(costs, outcomes, strict=True):
            row[: outcome.n_iter] = outcome.costs
        if len(found) == 1:
            costs = costs[0]
        self.costs_ = costs if begun else np.concatenate((self.costs_, costs), axis=-1)


class SGDClassifier(_SGD, linear_model.SGDClassifier):
    """Linear classifiers by stochastic gradient descent: scikit-learn's iterates, by fastgd.

    One update a row, in the order that scikit-learn takes for the same `random_state`: coefficients,
    intercepts and numbers of epochs agree with its own up to rounding. More than two classes are fitted
    one against all others.

    Four faults of scikit-learn 1.9.1 are not copied. Three concern the epoch in which a run ends: early
    stopping scores coefficients without their scale, if there is an l2 penalty; with "log_loss" it counts
    no row of the negative class as right; the objective of penalised sparse rows, for `tol`, has the norm
    of the columns of one row in place of the norm of all. The fourth is that `partial_fit` of classifiers
    with `average` forgets the intercept of the calls before. One that is copied: with both an l1 penalty
    and `average`, what the penalty takes from a coefficient is taken from the mean as if it had been so
    from the start.

    Parameters
    ----------
    loss : str, default="hinge"
        "hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron", "squared_error", "huber",
        "epsilon_insensitive" or "squared_epsilon_insensitive".
    penalty : {"l2", "l1", "elasticnet"} or None, default="l2"
    alpha : float, default=0.0001
        The strength of the penalty, for each update; the "optimal" step size depends on it too.
    l1_ratio : float, default=0.15
        The l1 part of "elasticnet".
    fit_intercept : bool, default=True
    max_iter : int, default=1000
        The most epochs of `fit`.
    tol : float, default=1e-3
        The run ends after `n_iter_no_change` epochs in turn in which the objective fell by less (or the
        score rose by less, with `early_stopping`). None: it takes `max_iter` epochs.
    shuffle : bool, default=True
    verbose : int, default=0
    epsilon : float, default=0.1
        The parameter of "huber", "epsilon_insensitive" and "squared_epsilon_insensitive".
    n_jobs : int, optional
        The number of threads for several classes; None is one, as in scikit-learn.
    random_state : int, RandomState or None
    learning_rate : str, default="optimal"
        "constant", "optimal", "invscaling", "adaptive", "pa1" or "pa2".
    eta0 : float, default=0.01
    power_t : float, default=0.5
        The exponent of "invscaling".
    early_stopping : bool, default=False
        Whether a part of the rows is held out, and their score ends the run.
    validation_fraction : float, default=0.1
        That part.
    n_iter_no_change : int, default=5
    class_weight : dict or "balanced", optional
    warm_start : bool, default=False
    average : bool or int, default=False
        Whether the coefficients are the mean over all updates, or over those from this number on.
    intercept_decay : float, optional
        Of fastgd: what each step of the intercept is multiplied by. By default it is 1 for dense and 0.01
        for sparse rows, as in scikit-learn.
    batch_size : int, optional
        Of fastgd: an update for so many rows. With it or an `optimizer` the fit is that of `fastgd.fit`,
        for several classes one of each against all others: ``lr=eta0``, the same objective, `max_iter`
        epochs or until `tol` and `n_iter_no_change` end it, by the objective of each epoch. Weights are
        scaled to a mean of 1, the order of rows is another, "invscaling" divides `eta0` by
        (epoch + 1)^power_t, and steps of the intercept are whole for sparse rows, too. What raises
        NotImplementedError: other schedules, `early_stopping`, `average`, `verbose`, and with another
        optimizer than "gd" an l1 penalty and `partial_fit`, which wants the "constant" schedule, too.
        None: all rows, or without an `optimizer` scikit-learn's iterates.
    optimizer : str or object, optional
        Of fastgd: as in `fastgd.fit`, such as "adam". None: "gd" with a `batch_size`.

    Attributes
    ----------
    coef_ : ndarray (1, d) or (k, d)
    intercept_ : ndarray (1,) or (k,)
    classes_ : ndarray (k,)
    n_iter_ : int
        The number of epochs, of the class with the most.
    t_ : float
        The number of updates, with batches that of the rows they had, plus one.
    costs_ : ndarray (n_iter_,) or (k, n_iter_)
        Of fastgd: the mean loss that the updates of each epoch met, without penalty and weights; NaN
        after the end of a class. `partial_fit` appends.
    fit_ : Fit
        Of fastgd: the model as `fastgd.fit` returns one, to plot and to save; it predicts the same.
        Its costs are `costs_`, of several classes their mean, where a class that has ended keeps its last
        cost, and `cost` is the last of them. `converged` says that the rule of `tol` ended the run, or
        without `tol` that all epochs ran, and that costs rose by no more than a tenth. The loss has
        fastgd's name where it is one of two classes, as has "bce" for "log_loss"; else it is
        "one-vs-rest" with the name, and there are neither probabilities nor a deviance.

    Examples
    --------
    >>> from fastgd.linear_model import SGDClassifier
    >>> X, y = [[-1, -1], [-2, -1], [1, 1], [2, 1]], [1, 1, 2, 2]
    >>> SGDClassifier(random_state=0).fit(X, y).predict([[-0.8, -1]])
    array([1])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **linear_model.SGDClassifier._parameter_constraints,
        **_CONSTRAINTS,
    }

    def __init__(
        self,
        loss: str = "hinge",
        *,
        penalty: str | None = "l2",
        alpha: float = 0.0001,
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        verbose: int = 0,
        epsilon: float = 0.1,
        n_jobs: int | None = None,
        random_state: Any = None,
        learning_rate: str = "optimal",
        eta0: float = 0.01,
        power_t: float = 0.5,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        class_weight: Any = None,
        warm_start: bool = False,
        average: bool | int = False,
        intercept_decay: float | None = None,
        batch_size: int | None = None,
        optimizer: Any = None,
    ):
        super().__init__(
            loss, penalty=penalty, alpha=alpha, l1_ratio=l1_ratio, fit_intercept=fit_intercept,
            max_iter=max_iter, tol=tol, shuffle=shuffle, verbose=verbose, epsilon=epsilon, n_jobs=n_jobs,
            random_state=random_state, learning_rate=learning_rate, eta0=eta0, power_t=power_t,
            early_stopping=early_stopping, validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change, class_weight=class_weight, warm_start=warm_start,
            average=average,
        )  # fmt: skip
        self.intercept_decay, self.batch_size, self.optimizer = (
            intercept_decay,
            batch_size,
            optimizer,
        )

    def _fit_binary(
        self, X: Any, y: Any, *, sample_weight: np.ndarray, max_iter: int, **_: Any
    ) -> None:
        """The run of two classes, in place of scikit-learn's own."""
        random = check_random_state(self.random_state)
        _data_seed(random)
        held_out = self._make_validation_split(y, sample_mask=sample_weight > 0)
        descent, seed = self._descent(X), random.randint(_SEEDS)
        negative, positive = self._expanded_class_weight
        data = X, y, sample_weight, held_out
        outcome = self._run(descent, data, 1, positive, negative, seed, max_iter)
        self._end([outcome], X.shape[0], (1, -1))

    def _fit_multiclass(
        self, X: Any, y: Any, *, sample_weight: np.ndarray, max_iter: int, **_: Any
    ) -> None:
        """The runs of each class against all others, in place of scikit-learn's own."""
        held_out = self._make_validation_split(y, sample_mask=sample_weight > 0)
        descent, data = self._descent(X), (X, y, sample_weight, held_out)
        random, seeds = np.random.RandomState(0), []
        for seed in check_random_state(self.random_state).randint(_SEEDS, size=len(self.classes_)):
            random.seed(seed)  # a new generator takes 0.1 ms
            _data_seed(random)
            seeds.append(random.randint(_SEEDS))
        outcomes = Parallel(n_jobs=self.n_jobs, verbose=self.verbose, require="sharedmem")(
            delayed(self._run)(descent, data, label, positive, 1.0, seed, max_iter)
            for label, (positive, seed) in enumerate(
                zip(self._expanded_class_weight, seeds, strict=True)
            )
        )
        self._end(outcomes, X.shape[0], (len(seeds), -1))

    def _run(
        self, descent: Any, data: tuple[Any, ...], label: int, positive: float, negative: float,
        seed: int, max_iter: int,
    ) -> Outcome:  # fmt: skip
        """The run of one class against all others."""
        X, y, sample_weight, held_out = data
        outputs = 1 if len(self.classes_) == 2 else len(self.classes_)
        is_label = y == self.classes_[label]
        others = 0.0 if self.loss == "log_loss" else -1.0
        target = np.where(is_label, 1.0, others).astype(X.dtype)
        score = self._make_validation_score_cb(
            held_out, X, target, sample_weight, classes=np.array([others, 1.0], X.dtype)
        )
        start = self._start(0 if outputs == 1 else label, outputs, X.dtype)
        weight = sample_weight * np.where(is_label, positive, negative)
        return descent.run(start, target, weight, seed, max_iter, held_out, score)


class SGDRegressor(_SGD, linear_model.SGDRegressor):
    """Linear regression by stochastic gradient descent: scikit-learn's iterates, by fastgd.

    What `SGDClassifier` says of iterates and of the faults of scikit-learn 1.9.1 is true here too.

    Parameters
    ----------
    loss : str, default="squared_error"
        "squared_error" (with a factor of 1/2), "huber", "epsilon_insensitive" or
        "squared_epsilon_insensitive".
    penalty, alpha, l1_ratio, fit_intercept, max_iter, tol, shuffle, verbose, epsilon, random_state
        As in `SGDClassifier`.
    learning_rate : str, default="invscaling"
    eta0 : float, default=0.01
    power_t : float, default=0.25
    early_stopping, validation_fraction, n_iter_no_change, warm_start, average, intercept_decay, \
batch_size, optimizer
        As in `SGDClassifier`.

    Attributes
    ----------
    coef_ : ndarray (d,)
    intercept_ : ndarray (1,)
    n_iter_ : int
    t_ : float
        The number of updates, with batches that of the rows they had, plus one.
    costs_ : ndarray (n_iter_,)
        Of fastgd: the mean loss that the updates of each epoch met, without penalty and weights.
    fit_ : Fit
        Of fastgd: as in `SGDClassifier`; its loss has fastgd's name and parameter, and "squared_error",
        which has a factor of 1/2 here, is "half squared error".

    Examples
    --------
    >>> from fastgd.linear_model import SGDRegressor
    >>> model = SGDRegressor(random_state=0).fit([[0.0], [1.0], [2.0], [3.0]], [1.0, 3.0, 5.0, 7.0])
    >>> model.coef_.round(1), model.intercept_.round(1)
    (array([2.]), array([1.]))
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **linear_model.SGDRegressor._parameter_constraints,
        **_CONSTRAINTS,
    }

    def __init__(
        self,
        loss: str = "squared_error",
        *,
        penalty: str | None = "l2",
        alpha: float = 0.0001,
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        verbose: int = 0,
        epsilon: float = 0.1,
        random_state: Any = None,
        learning_rate: str = "invscaling",
        eta0: float = 0.01,
        power_t: float = 0.25,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        average: bool | int = False,
        intercept_decay: float | None = None,
        batch_size: int | None = None,
        optimizer: Any = None,
    ):
        super().__init__(
            loss, penalty=penalty, alpha=alpha, l1_ratio=l1_ratio, fit_intercept=fit_intercept,
            max_iter=max_iter, tol=tol, shuffle=shuffle, verbose=verbose, epsilon=epsilon,
            random_state=random_state, learning_rate=learning_rate, eta0=eta0, power_t=power_t,
            early_stopping=early_stopping, validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change, warm_start=warm_start, average=average,
        )  # fmt: skip
        self.intercept_decay, self.batch_size, self.optimizer = (
            intercept_decay,
            batch_size,
            optimizer,
        )

    def _fit_regressor(
        self, X: Any, y: Any, alpha: float, loss: Any, learning_rate: str, sample_weight: np.ndarray,
        max_iter: int, *_: Any,
    ) -> None:  # fmt: skip
        """The run, in place of scikit-learn's own."""
        if not hasattr(self, "t_"):
            self.t_ = 1.0
        held_out = self._make_validation_split(y, sample_mask=sample_weight > 0)
        score = self._make_validation_score_cb(held_out, X, y, sample_weight)
        random = check_random_state(self.random_state)
        seed = random.randint(_SEEDS)
        _data_seed(random)
        start = self._start(0, 1, X.dtype)
        outcome = self._descent(X).run(start, y, sample_weight, seed, max_iter, held_out, score)
        self._end([outcome], X.shape[0], (-1,))


def _data_seed(random: Any) -> None:
    """Draw the number that scikit-learn draws for another use, so that the next is the same."""
    random.randint(1, _SEEDS)

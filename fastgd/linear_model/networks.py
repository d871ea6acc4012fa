"""MLPClassifier and MLPRegressor."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
from sklearn import neural_network
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
from sklearn.utils import _safe_indexing

from ..cpu.machine.blas import one_thread
from ..mlp.result import MlpFit
from .estimator import Estimator, require_in_memory
from .networks_descent import Descent, Steps

#: The losses of `MlpFit` by the activation of the last layer.
_LOSSES = {"identity": "mse", "exp": "poisson", "logistic": "bce", "softmax": "cross_entropy"}


@functools.cache
def _blas() -> Any:
    """All copies of BLAS in this process; to find them takes a millisecond."""
    from threadpoolctl import ThreadpoolController  # scikit-learn depends on it

    return ThreadpoolController()


class _Network(Estimator, BaseEstimator):
    """What both estimators share: scikit-learn's `fit` and `partial_fit`, with other inner loops."""

    coefs_: Any
    intercepts_: Any
    _no_improvement_count: int
    #: Whether the last fit is known to have come to its end, by one of its rules, before its limits.
    _ended = False
    _own = ("_ended",)

    @property
    def fit_(self) -> MlpFit:
        """The network as `fastgd.fit_mlp` returns one, in arrays of its own."""
        classes: Any = getattr(self, "classes_", None)
        outputs = len(self.intercepts_[-1])
        if self.out_activation_ == "logistic" and (outputs > 1 or len(classes) < 2):
            raise AttributeError("fit_ is for one label of two or more classes, or for targets.")
        lbfgs = self.solver == "lbfgs"
        curve = np.array([self.loss_] if lbfgs else self.loss_curve_)
        return MlpFit(
            weights=[np.ascontiguousarray(one.T) for one in self.coefs_],
            biases=[one.copy() for one in self.intercepts_],
            costs=curve, cost=float(self.loss_), n_epochs=len(curve),
            converged=self._ended, method=self.solver,
            classes=None if classes is None else classes.copy(),
            loss=_LOSSES[self.out_activation_], activation=self.activation,
            lrs=np.full(len(curve), 1.0 if lbfgs else self.learning_rate_init), flat=outputs == 1,
            feature_names=getattr(self, "feature_names_in_", None),
        )  # fmt: skip

    def _validate_input(self, X: Any, *others: Any, **named: Any) -> Any:
        require_in_memory(self, X)
        return super()._validate_input(X, *others, **named)

    def _fit_lbfgs(self, X: Any, y: Any, *given: Any) -> None:
        """scikit-learn's call of SciPy's L-BFGS-B, with the compiled objective."""
        sample_weight = given[0] if len(given) == 6 else None  # from scikit-learn 1.7 on
        descent = Descent(self, X, y, sample_weight, np.float64, X.shape[0])
        # For this fit alone: the method of the class stays what it is.
        self._loss_grad_lbfgs = lambda theta, *_: descent.objective(theta)
        self._ended = False
        try:
            # SciPy's own BLAS on one thread: the bits are the same on any number of processors, and
            # its threads don't spin-wait on the processors of the objective.
            with _blas().limit(limits=1, user_api="blas"):
                super()._fit_lbfgs(X, y, *given)
        finally:
            del self._loss_grad_lbfgs
        self._ended = self.n_iter_ < self.max_iter and descent.evaluations < self.max_fun

    def _fit_stochastic(self, X: Any, y: Any, *given: Any) -> None:
        """scikit-learn's epochs: its order of rows and its rules for the end, with compiled updates."""
        weighted, incremental = len(given) == 7, given[-1]  # weights from scikit-learn 1.7 on
        weight = given[0] if weighted else None
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = self._new_optimizer()
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        rows = np.arange(X.shape[0])
        held: tuple[Any, Any, Any] = None, None, None
        if self.early_stopping:
            rows, held = self._split(X, y, weight)
        n = len(rows)
        batch = min(200, n) if self.batch_size == "auto" else int(np.clip(self.batch_size, 1, n))
        if self.batch_size != "auto" and self.batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                stacklevel=5,
            )
        steps = Steps(self, X, y, weight, batch)
        self._take(steps.parameters(steps.network.theta))
        try:
            with one_thread():  # the predictions of rows held out too
                self._epochs(steps, rows, held if weighted else held[:2], incremental)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=5)
        finally:
            self._take(steps.end())
        if self.early_stopping:
            self.coefs_, self.intercepts_ = self._best_coefs, self._best_intercepts

    def _take(self, parameters: list[np.ndarray]) -> None:
        layers = len(parameters) // 2
        self.coefs_, self.intercepts_ = parameters[:layers], parameters[layers:]

    def _new_optimizer(self) -> Any:
        parameters = [*self.coefs_, *self.intercepts_]
        if self.solver == "sgd":
            return SGDOptimizer(
                parameters, self.learning_rate_init, self.learning_rate, self.momentum,
                self.nesterovs_momentum, self.power_t,
            )  # fmt: skip
        return AdamOptimizer(
            parameters, self.learning_rate_init, self.beta_1, self.beta_2, self.epsilon
        )

    def _split(self, X: Any, y: Any, weight: Any) -> tuple[np.ndarray, tuple[Any, Any, Any]]:
        """The places of the rows to fit, and X, y and weights of those held out for early stopping."""
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        rows, others = train_test_split(
            np.arange(X.shape[0]), random_state=self._random_state,
            test_size=self.validation_fraction, stratify=stratify,
        )  # fmt: skip
        if len(others) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your "
                "dataset."
            )
        targets = y[others]
        if is_classifier(self):
            targets = self._label_binarizer.inverse_transform(targets)
        held = _safe_indexing(X, others), targets, None if weight is None else weight[others]
        return rows, held

    def _epochs(
        self, steps: Steps, rows: np.ndarray, held: tuple[Any, ...], incremental: bool
    ) -> None:
        """Epochs until one of scikit-learn's rules ends them."""
        n, optimizer, early = len(rows), self._optimizer, self.early_stopping
        places = np.arange(n)
        self.n_iter_, self._ended = 0, False
        for _ in range(self.max_iter):
            if self.shuffle:
                drawn = np.arange(n)  # as sklearn.utils.shuffle does, without its checks
                self._random_state.shuffle(drawn)
                places = places[drawn]
            self.loss_ = steps.epoch(rows[places])
            self.n_iter_ += 1
            self.t_ += n
            self.loss_curve_.append(self.loss_)
            if self.verbose:
                print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
            self._update_no_improvement_count(early, *held)
            optimizer.iteration_ends(self.t_)
            if self._no_improvement_count > self.n_iter_no_change:
                if optimizer.trigger_stopping(self._reason(), self.verbose):
                    self._ended = True
                    break
                self._no_improvement_count = 0
            if incremental or (not early and not np.isfinite(steps.network.theta).all()):
                break  # without early stopping, what is not finite is refused at the end
            if self.n_iter_ == self.max_iter:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                    "optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=6,
                )

    def _reason(self) -> str:
        """Why the epochs end."""
        what = "Validation score" if self.early_stopping else "Training loss"
        return (
            f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change:d} "
            "consecutive epochs."
        )


class MLPClassifier(_Network, neural_network.MLPClassifier):
    """A network of dense layers for labels: scikit-learn's MLPClassifier, by fastgd.

    Minimises ``(Σ loss + alpha/2·Σ‖W‖²)/n`` over the n rows of each batch, with the cross-entropy of each
    row, weighted by `sample_weight` (n is then the sum of the weights). Two labels have one logistic
    output, more have a softmax, and several labels a row a logistic output each. For the same
    `random_state` the parameters after every update are those of scikit-learn, up to rounding.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(100,)
        Units of each hidden layer.
    activation : {"identity", "logistic", "tanh", "relu"}, default="relu"
        Of the hidden layers.
    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        "lbfgs" is SciPy's L-BFGS-B on all rows, the others make an update for each batch.
    alpha : float, default=0.0001
        The penalty of the weights.
    batch_size : int or "auto", default="auto"
        Rows of an update; "auto" is 200, or all rows if there are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Of "sgd". "invscaling" divides by (rows seen)^power_t after each epoch, "adaptive" by 5 where
        an epoch would else be the last.
    learning_rate_init : float, default=0.001
    power_t : float, default=0.5
    max_iter : int, default=200
        The most epochs, or iterations of "lbfgs".
    shuffle : bool, default=True
        Draw a new order of the rows for each epoch.
    random_state : int, RandomState or None, default=None
        Draws the initial parameters, the rows held out, and the order, as in scikit-learn.
    tol : float, default=1e-4
        What counts as an improvement of an epoch's loss, or of the score of the rows held out. For
        "lbfgs" the largest part of the gradient at the end.
    verbose : bool, default=False
        Print the loss of each epoch.
    warm_start : bool, default=False
        Begin where the last fit ended, but with a new optimizer.
    momentum : float, default=0.9
        Of "sgd".
    nesterovs_momentum : bool, default=True
        Of "sgd".
    early_stopping : bool, default=False
        Hold out rows, end the fit by their score, and return the parameters with the best one.
    validation_fraction : float, default=0.1
        The part held out, of each class in proportion.
    beta_1, beta_2, epsilon : float, default=0.9, 0.999 and 1e-8
        Of "adam".
    n_iter_no_change : int, default=10
        The most epochs without an improvement.
    max_fun : int, default=15000
        The most evaluations of "lbfgs".

    Attributes
    ----------
    classes_ : ndarray (k,)
    coefs_ : list of ndarray (in, out)
        The weights, one array a layer.
    intercepts_ : list of ndarray (out,)
    loss_ : float
        The objective, in "adam" and "sgd" the mean over the last epoch, each batch before its update.
    loss_curve_ : list of float
        That of each epoch.
    best_loss_ : float or None
        The least of them; None with `early_stopping`.
    validation_scores_, best_validation_score_
        With `early_stopping` the accuracy of the rows held out after each epoch, and the best; else None.
    n_iter_ : int
        The epochs, or iterations, of the last fit.
    t_ : int
        The rows seen, in all epochs.
    n_layers_, n_outputs_ : int
    out_activation_ : str
        Of the last layer: "logistic" or "softmax".
    fit_ : MlpFit
        The network as `fastgd.fit_mlp` returns one, with `save` and predictions on all processors. Its
        costs are `loss_curve_`, with the penalty. Several labels a row have none.

    Notes
    -----
    An epoch without `early_stopping` that makes a parameter infinite or NaN is the last; scikit-learn
    goes on to `max_iter` and raises the same ValueError.

    Examples
    --------
    >>> from fastgd.linear_model import MLPClassifier
    >>> x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], ["same", "not", "not", "same"]
    >>> model = MLPClassifier(8, "tanh", solver="lbfgs", random_state=0).fit(x, y)
    >>> model.predict(x).tolist()
    ['same', 'not', 'not', 'same']
    """


class MLPRegressor(_Network, neural_network.MLPRegressor):
    """A network of dense layers for numbers: scikit-learn's MLPRegressor, by fastgd.

    Minimises ``(Σ loss + alpha/2·Σ‖W‖²)/n`` over the n rows of each batch, with the loss of each row
    weighted by `sample_weight` (n is then the sum of the weights). For the same `random_state` the
    parameters after every update are those of scikit-learn, up to rounding.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default="squared_error"
        ``(ŷ − y)²/2``, or with ŷ = exp(output) ``y·log(y/ŷ) − y + ŷ``. Over several outputs gradients
        are those of the sum of the squares, and `loss_` has their mean, as in scikit-learn.
    hidden_layer_sizes : sequence of int, default=(100,)
        Units of each hidden layer.
    activation : {"identity", "logistic", "tanh", "relu"}, default="relu"
        Of the hidden layers.
    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        "lbfgs" is SciPy's L-BFGS-B on all rows, the others make an update for each batch.
    alpha : float, default=0.0001
        The penalty of the weights.
    batch_size : int or "auto", default="auto"
        Rows of an update; "auto" is 200, or all rows if there are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Of "sgd". "invscaling" divides by (rows seen)^power_t after each epoch, "adaptive" by 5 where
        an epoch would else be the last.
    learning_rate_init : float, default=0.001
    power_t : float, default=0.5
    max_iter : int, default=200
        The most epochs, or iterations of "lbfgs".
    shuffle : bool, default=True
        Draw a new order of the rows for each epoch.
    random_state : int, RandomState or None, default=None
        Draws the initial parameters, the rows held out, and the order, as in scikit-learn.
    tol : float, default=1e-4
        What counts as an improvement of an epoch's loss, or of the score of the rows held out. For
        "lbfgs" the largest part of the gradient at the end.
    verbose : bool, default=False
        Print the loss of each epoch.
    warm_start : bool, default=False
        Begin where the last fit ended, but with a new optimizer.
    momentum : float, default=0.9
        Of "sgd".
    nesterovs_momentum : bool, default=True
        Of "sgd".
    early_stopping : bool, default=False
        Hold out rows, end the fit by their score, and return the parameters with the best one.
    validation_fraction : float, default=0.1
        The part held out, of each class in proportion.
    beta_1, beta_2, epsilon : float, default=0.9, 0.999 and 1e-8
        Of "adam".
    n_iter_no_change : int, default=10
        The most epochs without an improvement.
    max_fun : int, default=15000
        The most evaluations of "lbfgs".

    Attributes
    ----------
    coefs_ : list of ndarray (in, out)
        The weights, one array a layer.
    intercepts_ : list of ndarray (out,)
    loss_ : float
        The objective, in "adam" and "sgd" the mean over the last epoch, each batch before its update.
    loss_curve_ : list of float
        That of each epoch.
    best_loss_ : float or None
        The least of them; None with `early_stopping`.
    validation_scores_, best_validation_score_
        With `early_stopping` the R² of the rows held out after each epoch, and the best; else None.
    n_iter_ : int
        The epochs, or iterations, of the last fit.
    t_ : int
        The rows seen, in all epochs.
    n_layers_, n_outputs_ : int
    out_activation_ : str
        Of the last layer: "identity" or "exp".
    fit_ : MlpFit
        The network as `fastgd.fit_mlp` returns one, with `save` and predictions on all processors. Its
        costs are `loss_curve_`, with the penalty.

    Notes
    -----
    An epoch without `early_stopping` that makes a parameter infinite or NaN is the last; scikit-learn
    goes on to `max_iter` and raises the same ValueError.

    Examples
    --------
    >>> from fastgd.linear_model import MLPRegressor
    >>> x, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
    >>> model = MLPRegressor(hidden_layer_sizes=16, activation="tanh", solver="lbfgs", tol=1e-3)
    >>> model = model.set_params(random_state=0).fit(x, y)
    >>> model.predict([[1.0], [2.0]]).round(1)
    array([1., 4.])
    """

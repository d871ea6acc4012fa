"""The estimators against scikit-learn's checks of what an estimator must be."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from fastgd.linear_model import LinearRegression, LogisticRegression, Ridge


@parametrize_with_checks([LinearRegression(), LogisticRegression(), Ridge()])
def test_of_scikit_learn(estimator, check):
    check(estimator)

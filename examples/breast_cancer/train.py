"""Gradient boosting on the Wisconsin breast cancer data (569 biopsies, 30 measurements each): scikit-learn alone."""

import json
import os
import sys

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import train_test_split

learning_rate, max_leaf_nodes, seed = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

x, y = load_breast_cancer(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=seed, stratify=y)
model = HistGradientBoostingClassifier(learning_rate=learning_rate, max_leaf_nodes=max_leaf_nodes, random_state=seed)
model.fit(x_train, y_train)

accuracy = accuracy_score(y_test, model.predict(x_test))
auc = roc_auc_score(y_test, model.predict_proba(x_test)[:, 1])
print(f"accuracy {accuracy:.4f}, area under the ROC curve {auc:.4f} on {len(y_test)} biopsies")

# Named outputs, a line of JSON each, for steps that come after this one. The file is only there when a runner asks.
if "MLGATE_OUTPUTS" in os.environ:
    with open(os.environ["MLGATE_OUTPUTS"], "a") as outputs:
        print(json.dumps({"accuracy": accuracy, "auc": auc}), file=outputs)

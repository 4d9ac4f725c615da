"""Find the tissue on a slide's overview, what it is stained with, pen marks and folds."""

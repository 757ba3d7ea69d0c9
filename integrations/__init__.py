"""Lightning, TensorBoard and W&B: each module needs the package that it is for; nothing below imports one of them."""

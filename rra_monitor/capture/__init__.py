"""Fixed samples, and the features of the watched layers for them."""

"""Fixed samples, and the features that the watched layers make of them."""

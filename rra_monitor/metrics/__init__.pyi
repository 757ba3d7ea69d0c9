from .chance import nncs_chance as nncs_chance
from .chance import nnls_chance as nnls_chance
from .class_similarity import nncs as nncs
from .intrinsic_dimension import twonn as twonn
from .layer_similarity import nnls as nnls
from .layer_similarity import nnls_matrix as nnls_matrix

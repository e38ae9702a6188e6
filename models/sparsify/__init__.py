"""How sparse backbones are made: one file a method, one training loop for all.

:func:`models.sparsify.produce.sparsify` trains a network and writes it. A method is a
subclass of :class:`models.sparsify.method.Method` in a file of its own and one line in
:data:`METHODS`; code outside this repository adds its own through the entry-point group
``sparsebench.methods``.
"""

from __future__ import annotations

from models.registry import Registry

METHODS = Registry(
    "method",
    "sparsebench.methods",
    {
        "dense": "models.sparsify.dense:Dense",
        "gmp": "models.sparsify.gmp:GradualMagnitude",
        "gmp_uniform": "models.sparsify.gmp:UniformGradualMagnitude",
        "acdc": "models.sparsify.acdc:AlternatingCompression",
        "acdc_uniform": "models.sparsify.acdc:UniformAlternatingCompression",
        "rigl": "models.sparsify.rigl:RigLKernel",
        "rigl_uniform": "models.sparsify.rigl:RigLUniform",
        "str": "models.sparsify.str:SoftThreshold",
        "woodfisher": "models.sparsify.woodfisher:WoodFisher",
        "mfac": "models.sparsify.mfac:MatrixFree",
        "topkast": "models.sparsify.topkast:TopKast",
        "lth": "models.sparsify.lth:LotteryTicket",
        "structured": "models.sparsify.structured:StructuredFilters",
    },
)

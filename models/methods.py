"""The registry of pruning methods, one line each; ``models/sparsify`` trains them."""

from __future__ import annotations

from sparsebench.models.registry import Registry

METHODS = Registry(
    "method",
    "sparsebench.methods",
    {
        "dense": "sparsebench.models.sparsify.dense:Dense",
        "gmp": "sparsebench.models.sparsify.gmp:GradualMagnitude",
        "gmp_uniform": "sparsebench.models.sparsify.gmp:UniformGradualMagnitude",
        "acdc": "sparsebench.models.sparsify.acdc:AlternatingCompression",
        "acdc_uniform": "sparsebench.models.sparsify.acdc:UniformAlternatingCompression",
        "rigl": "sparsebench.models.sparsify.rigl:RigLKernel",
        "rigl_uniform": "sparsebench.models.sparsify.rigl:RigLUniform",
        "str": "sparsebench.models.sparsify.str:SoftThreshold",
        "woodfisher": "sparsebench.models.sparsify.woodfisher:WoodFisher",
        "mfac": "sparsebench.models.sparsify.mfac:MatrixFree",
        "topkast": "sparsebench.models.sparsify.topkast:TopKast",
        "lth": "sparsebench.models.sparsify.lth:LotteryTicket",
        "structured": "sparsebench.models.sparsify.structured:StructuredFilters",
    },
)

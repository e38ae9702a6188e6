"""How sparse backbones are made: one file a method, one training loop for all.

:func:`sparsebench.models.sparsify.produce.sparsify` trains a network and writes it. A method is a
subclass of :class:`sparsebench.models.sparsify.method.Method` in a file of its own and one line in
:data:`sparsebench.models.methods.METHODS`; code outside this repository adds its own through the
entry-point group ``sparsebench.methods``.
"""

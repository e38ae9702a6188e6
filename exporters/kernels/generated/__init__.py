"""Machine code for one pattern of non-zeros: AVX-512, emitted when a network is compiled.

``encoding`` knows instructions, ``emitter`` turns a pattern into code and a weight stream,
``memory`` holds code that may run, ``convolution`` is one layer of it, ``calls`` and ``network``
run whole networks.
"""

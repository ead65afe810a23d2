"""Export-safe graphs: plain modules over the trained submodules, one file for each graph.

They know tensors and shapes; they know no runtime (except that the decoder can be built with
attention operators of ExecuTorch) and no files.
"""

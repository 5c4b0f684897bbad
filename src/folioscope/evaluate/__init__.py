"""How right readings are: predictions beside truths, under the published definitions of each metric.

`run` has the story; `options` what is asked, without heavy imports; each other module a metric or an input. Definitions
are those of jiwer (cer, wer), OmniDocBench (edit, blocks, order), PubTabNet (teds) and olmOCR-bench (facts); where one
of them differs from its source, its docstring says how.
"""

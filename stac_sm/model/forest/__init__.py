"""Fast evaluation of boosted trees, bit-equal to XGBoost.

`trees` parses a booster, `ranks` turns features into ranks, `forest` packs trees for the kernel, `kernel` evaluates
them with SIMD instructions (`simd`, `kernel_loader`), `row_order` sorts rows; `ensemble` evaluates several boosters
in one pass and compares a sample with XGBoost.
"""

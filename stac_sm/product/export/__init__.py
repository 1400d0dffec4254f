"""Export of the product: one file of a box or a point, in the formats that climate and GIS tools open."""

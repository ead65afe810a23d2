"""Vision towers: a new one is one file and one line here.

A tower is an `nn.Module` built from its configuration's arguments. It maps pixels
float [B, 3, H, W] to patch features [B, P, C] and has the attributes `num_patches` (P) and
`feature_size` (C). One that other projects store as well says how in `published`, a
`base.PublishedTower`.
"""

VISION_TOWERS = {
    "clip": "hydra_mobile.models.vision.clip:ClipTower",
    "efficientnet_lite0": "hydra_mobile.models.vision.efficientnet_lite:EfficientNetLite0",
    "patch_conv": "hydra_mobile.models.vision.patch_conv:PatchConv",
    "siglip": "hydra_mobile.models.vision.siglip:SiglipTower",
}

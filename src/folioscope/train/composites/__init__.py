"""Pictures to learn cutting out from: objects with alpha over photographs and textures, drawn from seeds."""

"""Published layouts of annotated images, one file each."""

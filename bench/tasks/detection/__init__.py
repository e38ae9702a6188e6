"""Detection tasks: images with boxes, from COCO's JSON, Pascal VOC's XML or YOLO's text files."""

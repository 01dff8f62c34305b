"""One model many times: requests go over replicas on the nodes of a Ray cluster. Needs no torch, and Ray only if used."""

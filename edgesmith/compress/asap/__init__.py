"""Architecture search by annealing and pruning (ASAP): spaces, their supernets, and the task that prunes them."""

"""From a request to the row that answers it: the door, the routes, and what is mounted beside."""

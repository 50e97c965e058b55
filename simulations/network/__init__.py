"""What lies between simulated machines: links, datagrams and streams, and what befalls them."""

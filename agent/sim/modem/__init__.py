"""A cellular modem as its host sees it, in simulated time: `air` is what it has around it, `port` and `modem` are the
thing itself (bytes and `now` in, bytes out), `personalities` are the makes, `scenarios` what befalls them, and `shell`
puts one on a pty, a TCP port or an abstract socket, where any program that knows modems can use it.
"""

"""What people see: the station's facts as words and lights (pure), and the panel that a browser draws from them."""

return 'PONG'

module open_loop

go 1.22
